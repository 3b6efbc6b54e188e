"""Contact sheets: every image is on the sheet, whole, in its place."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import find_objects

from alexnet_cli.data.contact_sheet import choose_images, draw_sheet, images_per_class


def colours(count):
    """Colours that are all different, and different from the sheet's own."""
    return [(255, index % 256, 7 + index // 256) for index in range(count)]


def plain(count, side=8):
    images = np.empty((count, side, side, 3), np.uint8)
    images[:] = np.array(colours(count), np.uint8)[:, None, None, :]
    return images


def decoded(sheet):
    with Image.open(BytesIO(sheet.png)) as image:
        assert image.mode == "RGB"
        return np.asarray(image)


def boxes_of(pixels, colours):
    """Return top, left, height, width of each colour, which must fill its rectangle."""
    numbers = {code_of(np.array(colour)): number for number, colour in enumerate(colours, 1)}
    codes, places = np.unique(code_of(pixels), return_inverse=True)
    marked = np.array([numbers.get(code, 0) for code in codes.tolist()])[places]
    counts = np.bincount(marked.ravel(), minlength=len(colours) + 1)[1:]
    boxes = []
    for colour, found, count in zip(
        colours, find_objects(marked, len(colours)), counts, strict=True
    ):
        assert found is not None, f"{colour} is not on the sheet"
        rows, columns = found
        height, width = rows.stop - rows.start, columns.stop - columns.start
        assert count == height * width
        boxes.append((rows.start, columns.start, height, width))
    return boxes


def code_of(colour):
    """Return one number for the three of a colour, or of each pixel."""
    found = colour.astype(np.int64) @ np.array([65_536, 256, 1])
    return found if found.ndim else int(found)


@pytest.mark.parametrize(
    ("side", "drawn"),
    [(1, 96), (8, 96), (24, 96), (28, 84), (32, 96), (64, 128), (80, 80), (96, 96), (300, 96)],
)
def test_images_are_enlarged_by_whole_numbers_or_reduced(side, drawn):
    sheet = draw_sheet(plain(1, side), np.array([0]), ("a",), title="t")
    assert boxes_of(decoded(sheet), colours(1))[0][2:] == (drawn, drawn)


@pytest.mark.parametrize(("num_classes", "count"), [(1, 1), (1, 37), (3, 10), (20, 4)])
def test_a_class_has_its_row(num_classes, count):
    labels = np.repeat(np.arange(num_classes), count)
    classes = tuple(f"class {label}" for label in range(num_classes))
    pixels = decoded(draw_sheet(plain(len(labels)), labels, classes, title="t"))
    boxes = boxes_of(pixels, colours(len(labels)))
    assert len(set(boxes)) == len(boxes)
    for label in range(num_classes):
        tops = [top for (top, *_), own in zip(boxes, labels, strict=True) if own == label]
        assert len(set(tops)) == -(-count // 10)
        assert all(top > max(tops) for (top, *_), own in zip(boxes, labels, strict=True)
                   if own > label)  # fmt: skip


@pytest.mark.parametrize("num_classes", [21, 100, 150])
def test_many_classes_become_a_grid(num_classes):
    labels = np.arange(num_classes)
    classes = tuple(f"a rather long name of class {label}" for label in range(num_classes))
    pixels = decoded(draw_sheet(plain(num_classes), labels, classes, title="t"))
    boxes = boxes_of(pixels, colours(num_classes))
    assert boxes == sorted(boxes)
    for top, left, height, width in boxes:  # each has ink below it, and none beside
        assert (pixels[top + height : top + height + 20, left : left + width] < 100).any()
        assert (pixels[top : top + height, left + width : left + width + 6] > 200).all()


def test_a_sheet_is_a_function_of_its_arguments():
    arguments = (plain(6), np.repeat([0, 1], 3), ("a", "b"))
    first = draw_sheet(*arguments, title="t")
    assert first == draw_sheet(*arguments, title="t")
    assert first != draw_sheet(*arguments, title="u")


def test_names_that_no_font_has_are_numbered():
    unknown = "\U000f0000"  # of the private use area
    classes = ("ant", "élan", "e\u0301lan", "собака", unknown, "a" * 300)
    sheet = draw_sheet(plain(6), np.arange(6), classes, title=f"{unknown} " * 100)
    assert sheet.numbered == {4: unknown}
    assert decoded(sheet).shape[1] < 600


def test_the_draw_takes_each_class_in_turn():
    labels = np.array([2, 0, 1, 0, 2, 0, 2, 2])
    chosen = choose_images(labels, labels=[2, 0, 1], count=2, seed=3)
    assert labels[chosen].tolist() == [2, 2, 0, 0, 1]
    assert len(set(chosen.tolist())) == 5
    assert chosen.tolist() == choose_images(labels, labels=[2, 0, 1], count=2, seed=3).tolist()
    draws = {tuple(choose_images(labels, labels=[2], count=2, seed=s)) for s in range(20)}
    assert len(draws) > 2


@pytest.mark.parametrize(("num_classes", "expected"), [(1, 10), (10, 10), (20, 10), (100, 2)])
def test_number_of_images(num_classes, expected):
    assert images_per_class(num_classes) == expected
    assert images_per_class(5_000) == 1
