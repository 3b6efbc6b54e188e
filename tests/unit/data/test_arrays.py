import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alexnet_cli.data.arrays import (
    ImageArrays,
    colour_statistics,
    colour_sums,
    num_held_out,
    stratified_split,
)
from alexnet_cli.errors import UsageError
from alexnet_cli.image import resize_square

BALANCED = np.arange(500) % 10
UNEVEN = np.repeat(np.arange(6), [1, 2, 3, 40, 300, 1000])


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


def test_the_seed_fixes_the_split_whatever_numpys_global_state_is():
    draws = []
    for seed in (0, 0, 1):
        np.random.seed(len(draws))  # noqa: NPY002 (the state under test)
        draws.append(stratified_split(BALANCED, val_size=50, seed=seed)[1].tolist())
    assert draws[0] == draws[1] != draws[2]


@given(data=st.data(), labels=st.lists(st.integers(0, 6), min_size=2, max_size=200))
def test_the_parts_are_disjoint_complete_and_in_proportion(data, labels):
    labels = np.array(labels)
    val_size = data.draw(st.integers(1, len(labels) - 1))
    train, val = stratified_split(labels, val_size=val_size, seed=3)
    assert len(val) == val_size
    np.testing.assert_array_equal(np.sort(np.concatenate([train, val])), np.arange(len(labels)))
    assert (np.diff(train) > 0).all()
    assert (np.diff(val) > 0).all()
    exact = np.bincount(labels) * (val_size / len(labels))
    held_out = np.bincount(labels[val], minlength=len(exact))
    assert (np.abs(held_out - exact) < 1 + 1e-9).all()


@pytest.mark.parametrize(
    ("labels", "val_size", "digest"),
    [
        (np.arange(50_000) % 10, 5_000, "22929971"),
        (np.arange(50_000) % 10, None, "22929971"),
        (np.arange(50_000) % 10, 0.1, "22929971"),
        (UNEVEN, 7, "3d974fb8"),
        (UNEVEN, 134, "ab4a71e3"),
        (UNEVEN, 1345, "4ba9652d"),
    ],
)
def test_splits_of_released_versions_stay(labels, val_size, digest):
    train, val = stratified_split(labels, val_size=val_size, seed=3)
    assert hashlib.sha256(train.tobytes() + val.tobytes()).hexdigest()[:8] == digest


@pytest.mark.parametrize(
    ("counts", "val_size", "expected"),
    [
        ([20, 20, 20], None, [2, 2, 2]),
        ([5_000] * 20, None, [250] * 20),
        ([1_000] * 10, None, [100] * 10),
        ([100, 2, 1], None, [9, 1, 0]),
        ([2, 2, 2, 1], None, [1, 1, 1, 0]),
        ([20, 20, 20], 0.25, [5, 5, 5]),
        ([60_000, 40_000], 0.1, [6_000, 4_000]),
        ([9, 3], 0.99, [8, 2]),
        ([100, 2], 10, [10, 0]),
    ],
    ids=str,
)
def test_a_share_holds_out_and_keeps_some_of_each_class(counts, val_size, expected):
    labels = np.repeat(np.arange(len(counts)), counts)
    _, val = stratified_split(labels, val_size=val_size, seed=0)
    assert np.bincount(labels[val], minlength=len(counts)).tolist() == expected
    assert num_held_out(labels, val_size) == sum(expected)


def test_single_images_are_not_held_out():
    with pytest.raises(UsageError, match="no class has two") as caught:
        num_held_out(np.arange(5), None)
    assert "val/CLASS/" in caught.value.hint


def test_the_draw_is_random_within_each_class():
    _, val = stratified_split(BALANCED, val_size=100, seed=0)
    for label in range(10):
        places = np.flatnonzero(BALANCED[val] == label)
        assert len(places) == 10
    assert val.min() < 100  # not a run at one end
    assert val.max() >= 400


@pytest.mark.parametrize("val_size", [-1, 0, 500, 501])
def test_both_parts_must_get_something(val_size):
    with pytest.raises(UsageError) as caught:
        stratified_split(BALANCED, val_size=val_size, seed=0)
    assert caught.value.message == f"cannot hold out {val_size} of 500 training images"
    assert "between 1 and 499" in caught.value.hint
