import numpy as np
import pytest

from alexnet_cli.data.arrays import ImageArrays, colour_statistics, colour_sums


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


def test_statistics_are_those_of_all_pixels(arrays):
    found = arrays.colour_statistics()
    pixels = arrays.images_NHWC.reshape(-1, 3).astype(float)
    np.testing.assert_allclose(found.mean_C, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std_C, pixels.std(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance_CC, np.cov(pixels.T, ddof=0), rtol=1e-9, atol=1e-9)


def test_one_colour_has_no_deviation():
    images = np.full((3, 5, 7, 3), (0, 77, 255), np.uint8)
    found = ImageArrays(images, np.zeros(3, np.int64)).colour_statistics()
    assert found.mean_C.tolist() == [0, 77, 255]
    assert found.std_C.tolist() == [0, 0, 0]
    assert not found.principal_axes().any()


def test_statistics_of_several_batches_are_those_of_all_images(arrays):
    found = colour_statistics([arrays.images_NHWC[:7], arrays.images_NHWC[7:]])
    whole = arrays.colour_statistics()
    np.testing.assert_array_equal(found.mean_C, whole.mean_C)
    np.testing.assert_array_equal(found.covariance_CC, whole.covariance_CC)


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
