"""A picture of many labelled images, to look at before training on them.

Shape letters: N images, S side, 3 = RGB.
"""

import contextlib
import functools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import distribution
from io import BytesIO
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

CELL_PX = 96  # about the side of an image on the sheet
_MAX_ROWS = 20  # few classes have a row each; of more, each image has its class below it
_GAP_PX, _MARGIN_PX, _MAX_NAME_PX, _MIN_WIDTH_PX = 6, 16, 200, 540
_NAME_SIZE, _LABEL_SIZE, _TITLE_SIZE = 15, 12, 17
_PAGE, _INK = (242, 242, 242), (20, 20, 20)
_MISSING = "\U0010ffff"  # a character that no font has a glyph for
_DEJAVU = "matplotlib/mpl-data/fonts/ttf/DejaVuSans.ttf"
_SYSTEM_FONTS = ("NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "arial.ttf")
_SAMPLE_STREAM = 0x5EE7  # keeps this draw apart from others made from the same seed

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont
Text: TypeAlias = tuple[str, Font]


@dataclass(frozen=True)
class Sheet:
    png: bytes
    numbered: dict[int, str]  # names that no installed font can write, by the number drawn instead


def images_per_class(num_classes: int) -> int:
    """Return how many images of each class fill a sheet of a sensible size."""
    return max(1, min(10, 200 // num_classes))


def choose_images(
    labels_N: NDArray[np.int64], *, labels: Sequence[int], count: int, seed: int
) -> NDArray[np.int64]:
    """Draw at most `count` images of each class.

    Returns:
        Indices, by class in the order of `labels`, then ascending.
    """
    generator = np.random.default_rng([seed, _SAMPLE_STREAM])
    chosen = []
    for label in labels:
        members = generator.permutation(np.flatnonzero(labels_N == label))
        chosen.append(np.sort(members[:count]))
    return np.concatenate(chosen)


def draw_sheet(
    images_NSSC: NDArray[np.uint8],
    labels_N: NDArray[np.int64],
    classes: tuple[str, ...],
    *,
    title: str,
) -> Sheet:
    """Draw images with the names of their classes.

    Images of one class follow each other.
    """
    labels = labels_N.tolist()
    numbered = {label: classes[label] for label in labels if not _find_font(classes[label])}
    names = [f"#{label}" if label in numbered else classes[label] for label in labels]
    images = [_enlarge(image) for image in images_NSSC]
    side, counts = images[0].width, [labels.count(label) for label in dict.fromkeys(labels)]
    is_grid = len(counts) > _MAX_ROWS
    cells = _grid(len(images)) if is_grid else _rows(counts)
    left, step_x, step_y = 0, side + 2 * _GAP_PX, side + _LABEL_SIZE + 3 * _GAP_PX
    if not is_grid:
        fitted = [_fit(name, _NAME_SIZE, _MAX_NAME_PX) for name in set(names)]
        left = int(max(font.getlength(text) for text, font in fitted)) + 2 * _GAP_PX
        step_x = step_y = side + _GAP_PX
    columns, rows = (1 + max(numbers) for numbers in zip(*cells, strict=True))
    width = max(_MIN_WIDTH_PX, left + columns * step_x - _GAP_PX)
    head = _TITLE_SIZE + 2 * _MARGIN_PX
    size = (width + 2 * _MARGIN_PX, head + rows * step_y - _GAP_PX + _MARGIN_PX)
    sheet = Image.new("RGB", size, _PAGE)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (_MARGIN_PX, head // 2), "lm", _fit(title, _TITLE_SIZE, width))
    for index, (image, (column, row)) in enumerate(zip(images, cells, strict=True)):
        x, y = _MARGIN_PX + left + column * step_x, head + row * step_y
        sheet.paste(image, (x, y))
        if is_grid:
            below = (x + side // 2, y + side + _GAP_PX // 2)
            _write(draw, below, "ma", _fit(names[index], _LABEL_SIZE, side))
        elif index == 0 or labels[index] != labels[index - 1]:
            beside = (_MARGIN_PX, y + side // 2)
            _write(draw, beside, "lm", _fit(names[index], _NAME_SIZE, _MAX_NAME_PX))
    file = BytesIO()
    sheet.save(file, "PNG")
    return Sheet(file.getvalue(), numbered)


def _rows(counts: list[int]) -> list[tuple[int, int]]:
    """Return column and row of each image, in a row or several for each class."""
    cells: list[tuple[int, int]] = []
    for count in counts:
        top = cells[-1][1] + 1 if cells else 0
        cells += [(number % 10, top + number // 10) for number in range(count)]
    return cells


def _grid(num_images: int) -> list[tuple[int, int]]:
    """Return column and row of each image, one after the other."""
    columns = 10 if num_images <= 100 else 15
    return [(number % columns, number // columns) for number in range(num_images)]


def _enlarge(image_SSC: NDArray[np.uint8]) -> Image.Image:
    """Bring an image to about `CELL_PX`: small ones as whole squares, large ones smoothed."""
    image = Image.fromarray(image_SSC)
    if image.width > CELL_PX:
        return image.resize((CELL_PX, CELL_PX), Image.Resampling.LANCZOS)
    side = image.width * round(CELL_PX / image.width)
    return image.resize((side, side), Image.Resampling.NEAREST)


@functools.cache
def _fonts(size: int) -> tuple[Font, ...]:
    """Return the font in matplotlib, which is not imported for it, and others of the system."""
    fonts: list[Font] = []
    for path in (distribution("matplotlib").locate_file(_DEJAVU), *_SYSTEM_FONTS):
        with contextlib.suppress(OSError):  # not installed
            fonts.append(ImageFont.truetype(str(path), size))
    return (*fonts, ImageFont.load_default(size))


def _find_font(text: str, size: int = _NAME_SIZE) -> Font | None:
    """Return a font with all letters of a text."""
    letters = set(unicodedata.normalize("NFC", text)) - {" "}
    for font in _fonts(size):
        missing = bytes(font.getmask(_MISSING))
        if all(bytes(font.getmask(letter)) != missing for letter in letters):
            return font
    return None


@functools.cache
def _fit(text: str, size: int, width_px: int) -> Text:
    """Shorten a text in the middle, since names often differ at their ends, and find its font."""
    text = unicodedata.normalize("NFC", text)  # fonts have é rather than an accent to put on an e
    font = _find_font(text, size) or _fonts(size)[0]
    fitted, kept = text, len(text)
    while kept > 1 and font.getlength(fitted) > width_px:
        kept -= 1
        fitted = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
    return fitted, font


def _write(draw: ImageDraw.ImageDraw, at: tuple[int, int], anchor: str, text: Text) -> None:
    draw.text(at, text[0], _INK, font=text[1], anchor=anchor)
