"""Readers of files from elsewhere, with inputs to begin from: for the fuzzer and for mutants."""

import dataclasses
import gzip
import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from alexnet_cli.data.cifar import (
    CIFAR10,
    CIFAR100,
    read_archive,
    read_cifar10_1_images,
    read_cifar10_1_labels,
)
from alexnet_cli.errors import DataError
from tests.conftest import write_tar
from tests.tiny_archives import binary_members, python_members

_CIFAR10 = dataclasses.replace(CIFAR10, train_images=2, test_images=2)
_CIFAR100 = dataclasses.replace(CIFAR100, train_images=1, test_images=1)


@dataclass(frozen=True)
class Target:
    read: Callable[[Path], None]  # reads a file and checks the arrays, or raises DataError
    seeds: Callable[[], list[bytes]]  # inputs that are read
    write: Callable[[Path, bytes], object] = Path.write_bytes  # makes a file of an input

    def is_read(self, content):
        with tempfile.NamedTemporaryFile() as file:
            self.write(Path(file.name), content)
            try:
                self.read(Path(file.name))
            except DataError:
                return False
        return True


def _read_archive(path, *, layout):
    train, test = read_archive(path, layout)
    for arrays, count in ((train, layout.num_train), (test, layout.test_images)):
        assert (arrays.images_NHWC.shape, arrays.images_NHWC.dtype) == ((count, 32, 32, 3), "u1")
        assert (arrays.labels_N.shape, arrays.labels_N.dtype) == ((count,), "i8")
        assert set(arrays.labels_N.tolist()) <= set(range(len(layout.classes)))


def _write_gzip(path, tar):
    path.write_bytes(gzip.compress(tar, compresslevel=0))


def _tars(layout):
    tars = []
    for members in (binary_members(layout), python_members(layout)):
        with tempfile.NamedTemporaryFile() as file:
            tars.append(gzip.decompress(write_tar(Path(file.name), members).read_bytes()))
    return tars


def _write_batches(path, content, *, layout):
    write_tar(path, dict.fromkeys(layout.python, content))


def _read_npy(path):
    try:
        images = read_cifar10_1_images(path, num_images=1)
        assert (images.shape, images.dtype) == ((1, 32, 32, 3), "u1")
    except DataError:
        labels = read_cifar10_1_labels(path, num_images=1)
        assert (labels.shape, labels.dtype) == ((1,), "i8")
        assert 0 <= labels[0] < 10


def _npys():
    saved = []
    for array in (np.zeros((1, 32, 32, 3), np.uint8), np.ones(1, np.int32), np.ones(1, np.int64)):
        file = io.BytesIO()
        np.save(file, array)
        saved.append(file.getvalue())
    return saved


def _tar(layout):
    return Target(partial(_read_archive, layout=layout), lambda: _tars(layout), _write_gzip)


def _pickle(layout):
    return Target(
        partial(_read_archive, layout=layout),
        lambda: list(python_members(layout).values()),
        partial(_write_batches, layout=layout),
    )


TARGETS = {
    "tar": _tar(_CIFAR100),
    "tar-cifar10": _tar(_CIFAR10),
    "pickle": _pickle(_CIFAR100),
    "pickle-cifar10": _pickle(_CIFAR10),
    "npy": Target(_read_npy, _npys),
}
