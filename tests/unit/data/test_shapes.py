import subprocess
import sys

import numpy as np
import pytest

from alexnet_cli.data.shapes import CLASSES, IMAGE_SIZE, draw_shapes

NUM_IMAGES = 1000


@pytest.fixture(scope="module")
def drawn():
    return draw_shapes(NUM_IMAGES, seed=0)


@pytest.fixture(scope="module")
def masks(drawn):
    """Where an image differs from every colour on its border, which is all background."""
    images = drawn[0].astype(np.float64)
    is_border = np.ones(images.shape[1:3], dtype=bool)
    is_border[1:-1, 1:-1] = False
    is_shape = []
    for image in images:
        pixels, border = image.reshape(-1, 3), image[is_border]
        squared = (pixels**2).sum(1)[:, None] - 2 * pixels @ border.T + (border**2).sum(1)
        is_shape.append((squared.min(axis=1) > 50**2).reshape(image.shape[:2]))
    return np.stack(is_shape)


def box_area(mask):
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (np.ptp(rows) + 1) * (np.ptp(columns) + 1)


@pytest.mark.parametrize("num_images", [1, 9, 10, 123])
def test_a_set_has_its_size_and_classes_as_even_as_possible(num_images):
    images, labels = draw_shapes(num_images, seed=3)
    assert images.shape == (num_images, IMAGE_SIZE, IMAGE_SIZE, 3)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    counts = np.bincount(labels, minlength=len(CLASSES))
    assert len(counts) == len(set(CLASSES)) == 10
    assert counts.max() - counts.min() <= 1


def test_the_seed_gives_the_same_bytes_whatever_numpys_global_state_is(drawn):
    np.random.seed(1)  # noqa: NPY002 (the state under test)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    again = draw_shapes(NUM_IMAGES, seed=0)
    for first, second in zip(drawn, again, strict=True):
        assert first.tobytes() == second.tobytes()
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_another_seed_gives_other_images_and_another_order(drawn):
    images, labels = draw_shapes(NUM_IMAGES, seed=1)
    assert not np.array_equal(labels, drawn[1])
    assert len({image.tobytes() for image in (*images, *drawn[0])}) == 2 * NUM_IMAGES


def test_classes_are_shuffled(drawn):
    _, labels = drawn
    # Ten classes in random order: neighbours agree in about a tenth of the places.
    assert 0.05 < (labels[1:] == labels[:-1]).mean() < 0.15
    for part in np.split(labels, 5):
        assert len(np.unique(part)) == len(CLASSES)


@pytest.mark.parametrize("label", range(len(CLASSES)), ids=CLASSES)
def test_every_image_shows_a_shape_that_stands_out(drawn, masks, label):
    share = masks[drawn[1] == label].mean(axis=(1, 2))
    assert share.min() > 0.04
    assert share.max() < 0.70


def test_colour_carries_no_label(drawn):
    images, labels = drawn
    colours = images.mean(axis=(1, 2))
    train, test = slice(0, NUM_IMAGES // 2), slice(NUM_IMAGES // 2, None)
    means = np.stack(
        [colours[train][labels[train] == label].mean(axis=0) for label in range(len(CLASSES))]
    )
    gaps = np.linalg.norm(colours[test][:, None] - means, axis=-1)
    assert (gaps.argmin(axis=1) == labels[test]).mean() < 0.25


def test_labels_belong_to_their_images(drawn, masks):
    fill = np.array([mask.sum() / box_area(mask) for mask in masks])
    fill_of = {name: np.median(fill[drawn[1] == label]) for label, name in enumerate(CLASSES)}
    assert fill_of["circle"] == pytest.approx(np.pi / 4, abs=0.06)
    assert fill_of["ring"] == pytest.approx(np.pi / 4 * (1 - 0.5**2), abs=0.06)
    assert max(fill_of["star"], fill_of["arrow"], fill_of["hourglass"]) < 0.5


def test_shapes_fill_55_to_90_percent_of_the_side(drawn, masks):
    circles = masks[drawn[1] == CLASSES.index("circle")]
    diameter_px = np.sqrt(circles.sum(axis=(1, 2)) * 4 / np.pi)
    assert diameter_px.min() == pytest.approx(0.55 * IMAGE_SIZE, abs=1.5)
    assert diameter_px.max() == pytest.approx(0.90 * IMAGE_SIZE, abs=1.5)


def test_drawing_needs_numpy_only():
    script = (
        "import sys; from alexnet_cli.data.shapes import draw_shapes; draw_shapes(3, 0); "
        "sys.exit('torch' in sys.modules or 'PIL' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
