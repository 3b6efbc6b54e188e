import threading
import time

import numpy as np
import pytest

from alexnet_cli.data.arrays import (
    BATCHES_IN_FLIGHT,
    RESIDENT_BYTES,
    ImageArrays,
    colour_statistics,
    colour_sums,
    fits_in_memory,
    iterate_images,
    load_if_fits,
    prefetched,
    training_statistics,
)
from alexnet_cli.data.folder import load_train
from alexnet_cli.devices import num_cores
from alexnet_cli.image import resize_square


@pytest.fixture(scope="module")
def arrays():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (50, 8, 8, 3), np.uint8)
    images[..., 2] //= 3  # the channels differ
    return ImageArrays(images, random.integers(0, 10, 50))


def test_take_keeps_the_order_asked_for_and_copies(arrays):
    taken = arrays.take(np.array([3, 0, 3]))
    assert len(taken) == 3
    np.testing.assert_array_equal(taken.images_NHWC, arrays.images_NHWC[[3, 0, 3]])
    np.testing.assert_array_equal(taken.labels_N, arrays.labels_N[[3, 0, 3]])
    before = arrays.images_NHWC[3].copy()
    taken.images_NHWC[:] = 0
    np.testing.assert_array_equal(arrays.images_NHWC[3], before)


def test_stored_images_are_resized_as_predict_does(arrays):
    resized = arrays.load_images(12)
    for image, big in zip(arrays.images_NHWC, resized, strict=True):
        np.testing.assert_array_equal(big, resize_square(image, 12))
    assert arrays.load_images(8) is arrays.images_NHWC


def test_statistics_are_those_of_all_pixels(arrays):
    found = colour_statistics([arrays.images_NHWC[:7], arrays.images_NHWC[7:]])
    pixels = arrays.images_NHWC.reshape(-1, 3).astype(float)
    np.testing.assert_allclose(found.mean_C, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std_C, pixels.std(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance_CC, np.cov(pixels.T, ddof=0), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(arrays.colour_statistics().covariance_CC, found.covariance_CC)


def test_one_colour_has_no_deviation():
    images = np.full((3, 5, 7, 3), (0, 77, 255), np.uint8)
    found = ImageArrays(images, np.zeros(3, np.int64)).colour_statistics()
    assert found.mean_C.tolist() == [0, 77, 255]
    assert found.std_C.tolist() == [0, 0, 0]
    assert not found.principal_axes().any()


def test_principal_axes_are_orthogonal_and_as_long_as_the_standard_deviations(arrays):
    found = arrays.colour_statistics()
    axes = found.principal_axes()
    np.testing.assert_allclose(axes @ axes.T, found.covariance_CC, rtol=1e-9, atol=1e-9)
    products = axes.T @ axes
    np.testing.assert_allclose(products, np.diag(products.diagonal()), atol=1e-6)


def test_statistics_from_sums_are_those_from_pixels_bit_for_bit(arrays):
    summed = ImageArrays(arrays.images_NHWC, arrays.labels_N, colour_sums(arrays.images_NHWC))
    some = np.array([4, 1, 7])
    for plain, quick in ((arrays, summed), (arrays.take(some), summed.take(some))):
        assert quick.colour_sums_N9 is not None
        found, expected = quick.colour_statistics(), plain.colour_statistics()
        np.testing.assert_array_equal(found.mean_C, expected.mean_C)
        np.testing.assert_array_equal(found.covariance_CC, expected.covariance_CC)


def test_sums_hold_the_brightest_image():
    assert (colour_sums(np.full((1, 256, 256, 3), 255, np.uint8))[0, 3:] == 255**2 * 2**16).all()


CLASSES = ("ant", "bee", "élan")


class Work:
    """Squares numbers and counts its buffers and threads."""

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


def test_closing_early_ends_the_threads():
    work = Work()
    results = work.run(BATCHES)
    next(results)
    time.sleep(0.1)
    assert work.num_buffers == BATCHES_IN_FLIGHT  # however slow the user is
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
    folder = load_train(photos, CLASSES)
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


def test_a_small_folder_is_read_into_memory(photos):
    folder = load_train(photos, CLASSES)
    arrays = load_if_fits(folder, size_px=11, num_workers=2)
    assert isinstance(arrays, ImageArrays)
    np.testing.assert_array_equal(arrays.images_NHWC, folder.load_images(11))
    np.testing.assert_array_equal(arrays.labels_N, folder.labels_N)


def test_a_large_folder_stays_where_it_is(photos):
    folder = load_train(photos, CLASSES)
    many = folder.take(np.zeros(RESIDENT_BYTES // (3 * 256**2) + 1, np.int64))
    assert load_if_fits(many, size_px=256, num_workers=1) is many
    assert not fits_in_memory(len(many), 256)
    assert fits_in_memory(len(many) - 1, 256)


def test_what_is_in_memory_is_not_resized(photos):
    arrays = ImageArrays(np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2, np.int64))
    assert load_if_fits(arrays, size_px=8, num_workers=1) is arrays


def test_statistics_of_a_folder_smaller_than_the_sample_are_exact(photos):
    folder = load_train(photos, CLASSES)
    found = training_statistics(folder, size_px=10, seed=3, num_workers=2)
    expected = ImageArrays(folder.load_images(10), folder.labels_N).colour_statistics()
    np.testing.assert_array_equal(found.mean_C, expected.mean_C)
    np.testing.assert_array_equal(found.covariance_CC, expected.covariance_CC)
