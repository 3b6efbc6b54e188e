import numpy as np

from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.data.folder import load_train
from alexnet_cli.data.prefetch import (
    RESIDENT_BYTES,
    fits_in_memory,
    load_if_fits,
    training_statistics,
)

CLASSES = ("ant", "bee", "élan")


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
