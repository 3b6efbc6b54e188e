import threading
import time

import numpy as np
import pytest

from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.data.folder import load_train
from alexnet_cli.data.prefetch import BATCHES_IN_FLIGHT, iterate_images, prefetched
from alexnet_cli.devices import num_cores


class Work:
    """A real, if simple, work: squares numbers, keeps count of what is begun."""

    def __init__(self, *, fails_at=None):
        self.fails_at, self.num_buffers, self.threads = fails_at, 0, set()

    def allocate(self, count):
        self.num_buffers += 1
        return np.zeros(count, np.int64)

    def fill(self, buffer, start, indices):
        self.threads.add(threading.current_thread())
        if self.fails_at in indices:
            raise ValueError(f"number {self.fails_at}")
        time.sleep(0.001 * (indices[0] % 3))  # the parts end out of order
        buffer[start : start + len(indices)] = indices**2

    def run(self, batches, num_workers=2):
        return prefetched(batches, allocate=self.allocate, fill=self.fill, num_workers=num_workers)


BATCHES = np.split(np.random.default_rng(0).permutation(400), 10)


@pytest.mark.parametrize("num_workers", [0, 1, 2, 7])
def test_buffers_come_filled_and_in_order(num_workers):
    work = Work()
    results = list(work.run(BATCHES, num_workers))
    assert len(results) == len(BATCHES)
    for batch, result in zip(BATCHES, results, strict=True):
        np.testing.assert_array_equal(result, batch**2)
    assert len(work.threads) <= (num_workers or num_cores())


def test_no_more_buffers_than_the_bound_are_ahead():
    work = Work()
    for used, _ in enumerate(work.run(BATCHES)):
        assert work.num_buffers <= used + BATCHES_IN_FLIGHT
    assert work.num_buffers == len(BATCHES)


def test_the_bound_holds_for_a_user_who_is_slow():
    work = Work()
    results = work.run(BATCHES)
    next(results)
    time.sleep(0.1)
    assert work.num_buffers == BATCHES_IN_FLIGHT
    results.close()


def test_closing_early_ends_the_threads():
    work = Work()
    results = work.run(BATCHES)
    next(results)
    assert any(thread.is_alive() for thread in work.threads)
    results.close()
    assert not any(thread.is_alive() for thread in work.threads)


def test_an_error_comes_out_at_its_batch_and_ends_the_threads():
    work = Work(fails_at=BATCHES[4][3])
    results = work.run(BATCHES)
    for _ in range(4):
        next(results)
    with pytest.raises(ValueError, match="number"):
        next(results)
    assert not any(thread.is_alive() for thread in work.threads)


def test_nothing_gives_nothing():
    assert list(Work().run([])) == []


@pytest.mark.parametrize("batch_size", [1, 20, 100])
def test_all_images_come_in_order(photos, batch_size):
    folder = load_train(photos, ("ant", "bee", "élan"))
    batches = list(iterate_images(folder, size_px=10, batch_size=batch_size))
    assert max(len(batch) for batch in batches) <= batch_size
    np.testing.assert_array_equal(np.concatenate(batches), folder.load_images(10))


@pytest.mark.parametrize("size_px", [6, 9])
def test_arrays_of_the_right_size_are_not_copied(size_px):
    images = np.random.default_rng(0).integers(0, 256, (50, 6, 6, 3), np.uint8)
    arrays = ImageArrays(images, np.zeros(50, np.int64))
    batches = list(iterate_images(arrays, size_px=size_px, batch_size=20))
    np.testing.assert_array_equal(np.concatenate(batches), arrays.load_images(size_px))
    assert all(np.shares_memory(batch, images) == (size_px == 6) for batch in batches)
