import numpy as np
import pytest

from alexnet_cli.data.arrays import ImageArrays, channel_statistics


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


def test_channel_statistics_are_those_of_all_pixels(arrays):
    mean, std = arrays.channel_statistics()
    np.testing.assert_allclose(mean, arrays.images_NHWC.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, arrays.images_NHWC.std(axis=(0, 1, 2)), rtol=1e-12)


def test_one_colour_has_no_deviation():
    images = np.full((3, 5, 7, 3), (0, 77, 255), np.uint8)
    mean, std = ImageArrays(images, np.zeros(3, np.int64)).channel_statistics()
    assert mean.tolist() == [0, 77, 255]
    assert std.tolist() == [0, 0, 0]


def test_statistics_of_several_batches_are_those_of_all_images(arrays):
    parts = [arrays.images_NHWC[:7], arrays.images_NHWC[7:]]
    for found, whole in zip(channel_statistics(parts), arrays.channel_statistics(), strict=True):
        np.testing.assert_array_equal(found, whole)
