"""Contact sheets: every image is on the sheet, whole, in its place."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import find_objects

from alexnet_cli.data.contact_sheet import choose_images, draw_sheet, images_per_class


def plain(count, side=8):
    """Images of one colour each, all different, and different from the sheet's own."""
    numbers = np.arange(count)
    colours = np.stack([np.full(count, 255), numbers % 256, numbers // 256], axis=1)
    return np.broadcast_to(colours[:, None, None], (count, side, side, 3)).astype(np.uint8)


def decoded(sheet):
    with Image.open(BytesIO(sheet.png)) as image:
        assert image.mode == "RGB"
        return np.asarray(image)


def boxes_of(sheet, count):
    """Return top, left, height, width of each image, which must fill its rectangle."""
    red, green, blue = np.moveaxis(decoded(sheet).astype(int), -1, 0)
    numbers = np.where(red == 255, 1 + green + 256 * blue, 0)
    boxes = []
    for number, place in enumerate(find_objects(numbers, count), start=1):
        assert (numbers[place] == number).all()
        boxes.append((place[0].start, place[1].start, *numbers[place].shape))
    return boxes


@pytest.mark.parametrize(
    ("side", "drawn"),
    [(1, 96), (8, 96), (24, 96), (28, 84), (32, 96), (64, 128), (80, 80), (96, 96), (300, 96)],
)
def test_images_are_enlarged_by_whole_numbers_or_reduced(side, drawn):
    sheet = draw_sheet(plain(1, side), np.array([0]), ("a",), title="t")
    assert boxes_of(sheet, 1)[0][2:] == (drawn, drawn)


@pytest.mark.parametrize(("num_classes", "count"), [(1, 1), (1, 37), (3, 10), (20, 4)])
def test_a_class_has_its_row(num_classes, count):
    labels = np.repeat(np.arange(num_classes), count)
    classes = tuple(f"class {label}" for label in range(num_classes))
    boxes = boxes_of(draw_sheet(plain(len(labels)), labels, classes, title="t"), len(labels))
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
    sheet = draw_sheet(plain(num_classes), labels, classes, title="t")
    pixels, boxes = decoded(sheet), boxes_of(sheet, num_classes)
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
