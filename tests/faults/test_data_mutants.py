"""Damaged archives, pickles, npy files and array caches: right arrays or a DataError, ever."""

import contextlib
import dataclasses
import itertools
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alexnet_cli.data.cache import TEST, TRAIN, array_path, load_arrays, record_path
from alexnet_cli.data.cifar import CIFAR10, read_archive
from alexnet_cli.errors import DataError
from tests.conftest import write_tar
from tests.faults.conftest import IS_LONG, few_or
from tests.faults.mutants import mutate
from tests.fuzz.targets import TARGETS
from tests.tiny_archives import TINY_10, TINY_100, binary_members, in_cache

counted = pytest.mark.parametrize("num_mutants", few_or(500, few=60, long=20_000))


def _hot_places(content):
    """Return the tar headers (blocks with the format's name), else the beginning and the end."""
    starts = range(0, len(content), 512)
    headers = [range(at, at + 512) for at in starts if content[at + 257 : at + 262] == b"ustar"]
    return tuple(headers) or (range(128), range(max(0, len(content) - 300), len(content)))


def _assert_same(found, expected):
    np.testing.assert_array_equal(found.images_NHWC, expected.images_NHWC)
    np.testing.assert_array_equal(found.labels_N, expected.labels_N)


@counted
@pytest.mark.parametrize("name", TARGETS)
def test_mutants_are_read_plausibly_or_refused(name, num_mutants, report):
    target, random = TARGETS[name], np.random.default_rng(2)
    seeds = target.seeds()
    assert all(map(target.is_read, seeds))
    assert not target.is_read(b"")
    num_read = 0
    for _, seed in zip(range(num_mutants // 2), itertools.cycle(seeds), strict=False):
        num_read += target.is_read(mutate(seed, random, hot=_hot_places(seed)))
    report(f"{num_read:,} of {num_mutants // 2:,} read")


@counted
@pytest.mark.parametrize("layout", [TINY_10, TINY_100])
def test_mutants_of_a_compressed_archive_are_refused_by_its_checksum(layout, num_mutants, tmp_path):
    random = np.random.default_rng(1)
    path = write_tar(tmp_path / "a.tar.gz", binary_members(layout))
    whole, expected = path.read_bytes(), read_archive(path, layout)
    for _ in range(num_mutants // 4):
        path.write_bytes(mutate(whole, random, hot=(range(20), range(len(whole) - 8, len(whole)))))
        with contextlib.suppress(DataError):
            for found, right in zip(read_archive(path, layout), expected, strict=True):
                _assert_same(found, right)


@counted
def test_the_array_cache(num_mutants, report):
    random, layout, num_read = np.random.default_rng(5), TINY_10, 0
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
        with contextlib.suppress(DataError):
            _assert_same(load_arrays(archive, layout, split), expected[split])
            num_read += 1
        if is_there:  # now the cache is whole again
            archive.path.rename(hidden)
            _assert_same(load_arrays(archive, layout, split), expected[split])
        hidden.rename(archive.path)
        path.write_bytes(whole[path])
    assert num_read >= num_mutants // 10
    report(f"{num_read:,} of {num_mutants:,} read")


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
