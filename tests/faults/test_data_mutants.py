"""Damaged archives, pickles, npy files and array caches: right arrays or a DataError, ever."""

import dataclasses
import gzip
import io
import pickle
import time
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alexnet_cli.data.array_cache import TEST, TRAIN, array_path, load_arrays, record_path
from alexnet_cli.data.cifar import (
    CIFAR10,
    CIFAR100,
    read_archive,
    read_cifar10_1_images,
    read_cifar10_1_labels,
)
from alexnet_cli.errors import DataError
from tests.conftest import write_tar
from tests.faults.conftest import IS_LONG, few_or
from tests.faults.mutants import mutate
from tests.fuzz.targets import TARGETS
from tests.tiny_archives import binary_members, in_cache, python_members

counted = pytest.mark.parametrize("num_mutants", few_or(500, few=60, long=20_000))
_LAYOUTS = (
    dataclasses.replace(CIFAR10, train_images=1, test_images=2),
    dataclasses.replace(CIFAR100, train_images=3, test_images=1),
)


class _Tally:
    """Counts what became of mutants."""

    def __init__(self):
        self.read, self.refused, self._begin = 0, 0, time.perf_counter()

    @contextmanager
    def expecting_nothing_else(self):
        try:
            yield
        except DataError:
            self.refused += 1
        else:
            self.read += 1

    def __str__(self):
        seconds = time.perf_counter() - self._begin
        return f"{self.read:,} read, {self.refused:,} refused, {seconds:.0f} s"


def _assert_plausible(arrays, num_images, layout):
    assert arrays.images_NHWC.shape == (num_images, 32, 32, 3)
    assert arrays.images_NHWC.dtype == np.uint8
    assert arrays.labels_N.shape == (num_images,)
    assert arrays.labels_N.dtype == np.int64
    assert arrays.labels_N.min() >= 0
    assert arrays.labels_N.max() < len(layout.classes)


def _assert_same(found, expected):
    np.testing.assert_array_equal(found.images_NHWC, expected.images_NHWC)
    np.testing.assert_array_equal(found.labels_N, expected.labels_N)


def _read_plausibly(path, layout):
    train, test = read_archive(path, layout)
    _assert_plausible(train, layout.num_train, layout)
    _assert_plausible(test, layout.test_images, layout)


def _headers(tar):
    """Return where the tar headers are: the blocks in which the format's name stands."""
    places = range(0, len(tar), 512)
    return tuple(range(at, at + 512) for at in places if tar[at + 257 : at + 262] == b"ustar")


@counted
@pytest.mark.parametrize("layout", _LAYOUTS, ids=lambda layout: layout.name)
def test_the_bytes_of_an_archive(layout, num_mutants, tmp_path, report):
    random, tally = np.random.default_rng(1), _Tally()
    path = write_tar(tmp_path / "a.tar.gz", binary_members(layout))
    whole, expected = path.read_bytes(), read_archive(path, layout)
    for _ in range(num_mutants // 4):
        path.write_bytes(mutate(whole, random, hot=(range(20), range(len(whole) - 8, len(whole)))))
        with tally.expecting_nothing_else():
            for found, right in zip(read_archive(path, layout), expected, strict=True):
                _assert_same(found, right)  # gzip has a checksum
    report(str(tally))


@counted
@pytest.mark.parametrize("layout", _LAYOUTS, ids=lambda layout: layout.name)
def test_the_tar_inside_an_archive(layout, num_mutants, tmp_path, report):
    random, tally = np.random.default_rng(2), _Tally()
    path = write_tar(tmp_path / "a.tar.gz", binary_members(layout))
    tar = gzip.decompress(path.read_bytes())
    hot = _headers(tar)
    assert len(hot) == len(layout.binary)
    for _ in range(num_mutants // 4):
        path.write_bytes(gzip.compress(mutate(tar, random, hot=hot), compresslevel=0))
        with tally.expecting_nothing_else():
            _read_plausibly(path, layout)
    report(str(tally))


@counted
@pytest.mark.parametrize("layout", _LAYOUTS, ids=lambda layout: layout.name)
def test_a_pickled_batch(layout, num_mutants, tmp_path, report):
    random, tally = np.random.default_rng(3), _Tally()
    members, path = python_members(layout), tmp_path / "a.tar.gz"
    for _ in range(num_mutants // 2):
        name = layout.python[random.integers(len(members))]
        content = members[name]
        hot = (range(150), range(len(content) - 300, len(content)))
        write_tar(path, members | {name: mutate(content, random, hot=hot)})
        with tally.expecting_nothing_else():
            _read_plausibly(path, layout)
    report(str(tally))


@counted
def test_the_npy_files_of_cifar10_1(num_mutants, tmp_path, report):
    random, tally, path = np.random.default_rng(4), _Tally(), tmp_path / "a.npy"
    whole = {}
    for kind, array in (
        ("images", random.integers(0, 256, (3, 32, 32, 3), np.uint8)),
        ("labels", np.array([9, 0, 4], np.int32)),
    ):
        file = io.BytesIO()
        np.save(file, array)
        whole[kind] = file.getvalue()
    for number in range(num_mutants):
        kind = "images" if number % 2 else "labels"
        path.write_bytes(mutate(whole[kind], random, hot=(range(128),)))
        with tally.expecting_nothing_else():
            if kind == "images":
                images = read_cifar10_1_images(path, num_images=3)
                assert images.shape == (3, 32, 32, 3)
                assert images.dtype == np.uint8
            else:
                labels = read_cifar10_1_labels(path, num_images=3)
                assert labels.dtype == np.int64
                assert set(labels.tolist()) <= set(range(10))
    report(str(tally))


@counted
def test_the_array_cache(num_mutants, report):
    random, tally, layout = np.random.default_rng(5), _Tally(), _LAYOUTS[0]
    archive = in_cache(layout)
    expected = dict(zip((TRAIN, TEST), read_archive(archive.path, layout), strict=True))
    load_arrays(archive, layout, TRAIN)
    whole = {
        path: path.read_bytes()
        for split in (TRAIN, TEST)
        for path in (array_path(layout, split), record_path(layout, split))
    }
    hidden = archive.path.with_suffix(".hidden")
    for number in range(num_mutants):
        split = TRAIN if number % 2 else TEST
        path = (array_path, record_path)[number // 2 % 2](layout, split)
        is_there = number % 10 == 0  # else the damage cannot be repaired
        if not is_there:
            archive.path.rename(hidden)
        path.write_bytes(mutate(whole[path], random, hot=(range(200),)))
        with tally.expecting_nothing_else():
            _assert_same(load_arrays(archive, layout, split), expected[split])
        if is_there:  # now the cache is whole again
            archive.path.rename(hidden)
            _assert_same(load_arrays(archive, layout, split), expected[split])
        hidden.rename(archive.path)
        path.write_bytes(whole[path])
    assert tally.read >= num_mutants // 10
    report(str(tally))


@pytest.mark.parametrize("name", TARGETS)
def test_what_the_fuzzer_begins_from_is_read(name):
    target = TARGETS[name]
    assert all(target.read(seed) for seed in target.seeds())
    assert not target.read(b"")


_plain = st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | st.text()
_values = _plain | st.lists(_plain) | st.dictionaries(st.binary() | st.integers(), _plain)
_batches = st.fixed_dictionaries(
    {
        b"data": st.sampled_from(
            [np.zeros((2, 3072), np.uint8), np.zeros((3, 3072), np.uint8), np.zeros(2), None]
        ),
        b"labels": st.lists(st.integers(-1, 11), min_size=1, max_size=3) | _values,
    },
    optional={b"filenames": _values},
)


@settings(
    max_examples=2_000 if IS_LONG else 100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(batch=_batches, protocol=st.integers(0, 5), num_images=st.integers(1, 3))
def test_batches_of_any_content(tmp_path, batch, protocol, num_images):
    layout = dataclasses.replace(CIFAR10, train_images=num_images, test_images=num_images)
    content = pickle.dumps(batch, protocol)
    path = write_tar(tmp_path / "a.tar.gz", dict.fromkeys(layout.python, content))
    data, labels = batch[b"data"], batch[b"labels"]
    is_right = (
        data is not None
        and data.shape == (num_images, 3072)
        and isinstance(labels, list)
        and len(labels) == num_images
        and all(type(label) is int and 0 <= label < 10 for label in labels)
    )
    try:
        train, _ = read_archive(path, layout)
    except DataError:
        assert not is_right or protocol in (0, 1, 5)  # as no official archive was pickled
    else:
        assert is_right
        assert train.labels_N.tolist() == labels * 5
