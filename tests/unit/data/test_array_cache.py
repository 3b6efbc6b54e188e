import hashlib
import json
import multiprocessing
import os
import resource

import numpy as np
import pytest

from alexnet_cli.data.array_cache import (
    RECORD,
    SCHEMA,
    TEST,
    TRAIN,
    array_path,
    load_arrays,
    record_path,
)
from alexnet_cli.data.arrays import colour_sums
from alexnet_cli.data.cifar import read_archive
from alexnet_cli.errors import DataError
from alexnet_cli.files import atomic_write, cache_folder
from tests.tiny_archives import TINY_10, TINY_100, in_cache


@pytest.fixture
def archive():
    return in_cache(TINY_10)


@pytest.fixture
def expected(archive):
    return dict(zip((TRAIN, TEST), read_archive(archive.path, TINY_10), strict=True))


def assert_same(found, expected):
    np.testing.assert_array_equal(found.images_NHWC, expected.images_NHWC)
    np.testing.assert_array_equal(found.labels_N, expected.labels_N)
    assert found.labels_N.dtype == np.int64
    assert found.images_NHWC.dtype == np.uint8


def kept():
    return {path.name for path in cache_folder().iterdir()} - {"tiny.tar.gz", "tiny.tar.gz.sha256"}


ALL = {"cifar10-train.npy", "cifar10-train.json", "cifar10-test.npy", "cifar10-test.json"}


@pytest.mark.parametrize("split", [TRAIN, TEST])
def test_arrays_are_those_of_the_archive_even_without_it(archive, expected, split):
    assert_same(load_arrays(archive, TINY_10, split), expected[split])
    assert kept() == ALL
    archive.path.unlink()
    again = load_arrays(archive, TINY_10, split)
    assert_same(again, expected[split])
    np.testing.assert_array_equal(again.colour_sums_N9, colour_sums(expected[split].images_NHWC))
    statistics, plain = again.colour_statistics(), expected[split].colour_statistics()
    np.testing.assert_array_equal(statistics.covariance_CC, plain.covariance_CC)


def test_numpy_reads_the_file_without_pickle(archive, expected):
    load_arrays(archive, TINY_10, TRAIN)
    records = np.load(array_path(TINY_10, TRAIN), mmap_mode="r", allow_pickle=False)
    assert records.dtype == RECORD
    np.testing.assert_array_equal(records["pixels"], expected[TRAIN].images_NHWC)
    np.testing.assert_array_equal(records["label"], expected[TRAIN].labels_N)


def test_training_never_opens_the_test_images(archive, expected):
    load_arrays(archive, TINY_10, TRAIN)
    archive.path.unlink()
    for path in (array_path(TINY_10, TEST), record_path(TINY_10, TEST)):
        path.unlink()
        path.mkdir()  # opening it would fail
    assert_same(load_arrays(archive, TINY_10, TRAIN), expected[TRAIN])
    with pytest.raises(DataError, match="is not in"):
        load_arrays(archive, TINY_10, TEST)


def test_pytorch_takes_the_arrays_and_the_file_stays_as_it_is(archive):
    import torch  # here, so that the processes below start without

    load_arrays(archive, TINY_10, TEST)
    before = array_path(TINY_10, TEST).read_bytes()
    arrays = load_arrays(archive, TINY_10, TEST)
    torch.from_numpy(arrays.images_NHWC).zero_()  # a warning is an error in these tests
    torch.from_numpy(arrays.labels_N).zero_()
    assert array_path(TINY_10, TEST).read_bytes() == before


def change(path, place=20):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


DAMAGES = {  # others are in tests/faults/test_data_mutants.py
    "header": change,
    "pixel": lambda path: change(path, -100),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "brackets": lambda path: path.write_bytes(b"[" * 4_000),
    "list": lambda path: path.write_bytes(b"[]"),
    "object": lambda path: path.write_bytes(b"{}"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("path_of", [array_path, record_path])
def test_damaged_arrays_are_rebuilt_or_refused_but_never_used(archive, expected, path_of, damage):
    load_arrays(archive, TINY_10, TRAIN)
    damage(path_of(TINY_10, TRAIN))
    assert_same(load_arrays(archive, TINY_10, TRAIN), expected[TRAIN])
    if not path_of(TINY_10, TRAIN).is_dir():
        damage(path_of(TINY_10, TRAIN))
        archive.path.unlink()
        with pytest.raises(DataError, match="is not in"):
            load_arrays(archive, TINY_10, TRAIN)


@pytest.mark.parametrize(
    "field", [{"schema": SCHEMA + 1}, {"num_images": 19}, {"archive_sha256": "1" * 64}, {"x": 1}]
)
def test_another_schema_shape_or_archive_is_not_used(archive, expected, field):
    load_arrays(archive, TINY_10, TRAIN)
    path = record_path(TINY_10, TRAIN)
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | field))
    assert_same(load_arrays(archive, TINY_10, TRAIN), expected[TRAIN])
    assert json.loads(path.read_text()) == record


def test_another_archive_brings_its_own_arrays(archive):
    load_arrays(archive, TINY_10, TRAIN)
    other = in_cache(TINY_10, seed=1)
    train, _ = read_archive(other.path, TINY_10)
    assert_same(load_arrays(other, TINY_10, TRAIN), train)
    other.path.unlink()
    assert_same(load_arrays(other, TINY_10, TRAIN), train)


def test_a_damaged_archive_is_refused_where_its_arrays_are_not_whole(archive, expected):
    load_arrays(archive, TINY_10, TRAIN)
    change(archive.path)
    assert_same(load_arrays(archive, TINY_10, TRAIN), expected[TRAIN])
    change(array_path(TINY_10, TRAIN))
    with pytest.raises(DataError, match="is damaged"):
        load_arrays(archive, TINY_10, TRAIN)


def test_datasets_do_not_share_a_file():
    hundred = in_cache(TINY_100)
    train, test = read_archive(hundred.path, TINY_100)
    assert_same(load_arrays(hundred, TINY_100, TEST), test)
    assert_same(load_arrays(hundred, TINY_100, TRAIN), train)
    assert kept() == {name.replace("10-", "100-") for name in ALL}


def test_arrays_that_cannot_be_kept_are_used_from_memory(archive, expected):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))
    try:
        for _ in range(2):
            assert_same(load_arrays(archive, TINY_10, TRAIN), expected[TRAIN])
            assert kept() == set()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def _load_often(archive, sha256):
    """Load again and again while others delete, damage and write."""
    random = np.random.default_rng(os.getpid())
    for _ in range(40):
        arrays = load_arrays(archive, TINY_10, TRAIN)
        assert hashlib.sha256(arrays.images_NHWC.tobytes()).hexdigest() == sha256
        path = (array_path, record_path)[random.integers(2)](TINY_10, TRAIN)
        path.unlink(missing_ok=True)
        if random.integers(2):
            atomic_write(path, record_path(TINY_10, TEST).read_bytes())


def test_many_processes_at_once_all_get_the_right_arrays(archive, expected):
    load_arrays(archive, TINY_10, TRAIN)
    sha256 = hashlib.sha256(expected[TRAIN].images_NHWC.tobytes()).hexdigest()
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_load_often, args=(archive, sha256)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert not any(name.endswith(".part") for name in kept())
