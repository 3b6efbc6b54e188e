import numpy as np
import pytest

from alexnet_cli.errors import UsageError
from alexnet_cli.evaluation.measure import views_of


@pytest.fixture
def images():
    """Each pixel names its place: red is the image, green the row, blue the column."""
    n, y, x = np.meshgrid(np.arange(2), np.arange(9), np.arange(11), indexing="ij")
    return np.stack([n, y, x], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("num_views", [1, 5, 10])
def test_places_of_the_crops(images, num_views):
    views = list(views_of(images, crop_size_px=4, num_views=num_views))
    assert [view.shape for view in views] == [(2, 4, 4, 3)] * num_views
    # Top left corner of each: centre, then the four corners of 9×11.
    places = [(2, 3), (0, 0), (0, 7), (5, 0), (5, 7)]
    for view, (top, left) in zip(views, places, strict=False):
        np.testing.assert_array_equal(view, images[:, top : top + 4, left : left + 4])
    for plain, mirrored in zip(views[:5], views[5:], strict=num_views == 10):
        np.testing.assert_array_equal(mirrored[:, :, ::-1], plain)


def test_nine_views_are_a_grid(images):
    views = list(views_of(images, crop_size_px=4, num_views=9))
    places = {(top, left) for top in (0, 2, 5) for left in (0, 3, 7)}
    assert {tuple(view[0, 0, 0, 1:].tolist()) for view in views} == places
    assert len(views) == 9
    np.testing.assert_array_equal(views[0], next(views_of(images, crop_size_px=4, num_views=1)))


def test_the_whole_image_is_every_crop():
    square = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
    views = list(views_of(square, crop_size_px=4, num_views=10))
    for view in views[:5]:
        np.testing.assert_array_equal(view, square)


@pytest.mark.parametrize("num_views", [0, 2, 11])
def test_other_numbers_are_refused_with_a_hint(images, num_views):
    with pytest.raises(UsageError, match=str(num_views)) as caught:
        list(views_of(images, crop_size_px=4, num_views=num_views))
    assert "--views" in caught.value.hint
