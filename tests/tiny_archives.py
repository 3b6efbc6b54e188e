"""CIFAR archives of a few images."""

import dataclasses
import hashlib
import pickle

import numpy as np

from alexnet_cli.data.cache import PublishedFile
from alexnet_cli.data.cifar import CIFAR10, CIFAR100
from tests.conftest import write_tar

TINY_10 = dataclasses.replace(CIFAR10, train_images=4, test_images=6)
TINY_100 = dataclasses.replace(CIFAR100, train_images=7, test_images=3)


def binary_members(layout, *, seed=0):
    """Return the files of the binary archive, filled with noise."""
    random, members = np.random.default_rng(seed), {}
    for name in layout.binary:
        shape = (layout.num_images(name), layout.record_bytes)
        records = random.integers(0, 256, shape, np.uint8)
        records[:, : layout.label_bytes] %= 10
        members[name] = records.tobytes()
    return members


def python_members(layout, *, seed=0):
    """Return the files of the Python archive with the same images, pickled by Python 3."""
    members = {}
    binary = binary_members(layout, seed=seed)
    for name, content in zip(layout.python, binary.values(), strict=True):
        records = np.frombuffer(content, np.uint8).reshape(-1, layout.record_bytes)
        batch = {
            b"data": records[:, layout.label_bytes :].copy(),
            layout.label_key: records[:, layout.label_place].tolist(),
        }
        members[name] = pickle.dumps(batch, protocol=2)
    return members


def in_cache(layout, *, seed=0):
    """Put an archive into the cache folder, and return what it is published as."""
    archive = PublishedFile("tiny", "tiny.tar.gz", "http://localhost/tiny.tar.gz", 1, "0" * 64)
    archive.path.parent.mkdir(parents=True, exist_ok=True)
    write_tar(archive.path, binary_members(layout, seed=seed))
    archive.hash_path.write_text(hashlib.sha256(archive.path.read_bytes()).hexdigest())
    return archive
