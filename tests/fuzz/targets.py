"""What is fuzzed: each reader of a file from elsewhere, with inputs to begin from."""

import dataclasses
import gzip
import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alexnet_cli.data.cifar import (
    CIFAR100,
    read_archive,
    read_cifar10_1_images,
    read_cifar10_1_labels,
)
from alexnet_cli.errors import DataError
from tests.conftest import write_tar
from tests.tiny_archives import binary_members, python_members

_LAYOUT = dataclasses.replace(CIFAR100, train_images=1, test_images=1)


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        read: Given an input, raises nothing but DataError; returns whether it was read.
        seeds: Inputs that are read.
    """

    read: Callable[[bytes], bool]
    seeds: Callable[[], list[bytes]]


def _is_read(name, content, read):
    with tempfile.NamedTemporaryFile(prefix=name) as file:
        file.write(content)
        file.flush()
        try:
            read(Path(file.name))
        except DataError:
            return False
    return True


def _read_tar(tar):
    content = gzip.compress(tar, compresslevel=0)
    return _is_read("tar", content, lambda path: read_archive(path, _LAYOUT))


def _tars():
    tars = []
    for members in (binary_members(_LAYOUT), python_members(_LAYOUT)):
        with tempfile.NamedTemporaryFile() as file:
            tars.append(gzip.decompress(write_tar(Path(file.name), members).read_bytes()))
    return tars


def _read_pickle(content):
    members = dict.fromkeys(_LAYOUT.python, content)
    with tempfile.NamedTemporaryFile() as file:
        archive = write_tar(Path(file.name), members).read_bytes()
    return _is_read("pickle", archive, lambda path: read_archive(path, _LAYOUT))


def _read_npy(content):
    return any(
        _is_read("npy", content, lambda path, read=read: read(path, num_images=1))
        for read in (read_cifar10_1_images, read_cifar10_1_labels)
    )


def _npys():
    saved = []
    for array in (np.zeros((1, 32, 32, 3), np.uint8), np.ones(1, np.int32), np.ones(1, np.int64)):
        file = io.BytesIO()
        np.save(file, array)
        saved.append(file.getvalue())
    return saved


TARGETS = {
    "tar": Target(_read_tar, _tars),
    "pickle": Target(_read_pickle, lambda: list(python_members(_LAYOUT).values())),
    "npy": Target(_read_npy, _npys),
}
