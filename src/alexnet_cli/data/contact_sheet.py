"""A picture of many labelled images, to look at before training on them.

Few classes become rows with the class beside them, many a grid with the class below each image.
Shape letters: N images, S side, 3 = RGB.
"""

import contextlib
import functools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

MOST_ROWS = 20  # more classes than that are laid out as a grid
_DEFAULT_PER_CLASS, _DEFAULT_IN_ALL = 10, 200
_COLUMNS, _MANY_COLUMNS = 10, 15  # images side by side; the others follow below
CELL_PX = 96  # about the side of an image on the sheet
_GAP_PX, _MARGIN_PX = 6, 16
_NAME_SIZE, _LABEL_SIZE, _TITLE_SIZE = 16, 13, 18
_MOST_NAME_PX = 200
_LEAST_WIDTH_PX = 540  # so that a title fits above a few images
_PAGE, _INK = (242, 242, 242), (20, 20, 20)
_MISSING = "\U0010ffff"  # a code that no font has a picture of
_SYSTEM_FONTS = ("DejaVuSans.ttf", "Arial Unicode.ttf", "NotoSansCJK-Regular.ttc", "arial.ttf")
_SAMPLE_STREAM = 0x5EE7  # keeps this draw apart from others made from the same seed

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Sheet:
    """A drawn sheet.

    Attributes:
        png: The picture, as the content of a PNG file.
        numbered: Names that no font here has all letters of, by the number drawn instead.
    """

    png: bytes
    numbered: dict[int, str]


def images_per_class(num_classes: int) -> int:
    """Return how many images of each class fill a sheet of a sensible size."""
    return max(1, min(_DEFAULT_PER_CLASS, _DEFAULT_IN_ALL // num_classes))


def choose_images(
    labels_N: NDArray[np.int64], *, labels: Sequence[int], count: int, seed: int
) -> NDArray[np.int64]:
    """Draw images of some classes.

    Args:
        labels_N: Labels of all images, shape (N,).
        labels: The classes to show.
        count: Most images of each.
        seed: Fixes the draw.

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
    """Draw images, large enough to be seen, with the names of their classes.

    Args:
        images_NSSC: uint8, shape (N, S, S, 3), N ≥ 1.
        labels_N: Their classes, shape (N,); images of one class follow each other.
        classes: Class names in label order.
        title: What the images are.
    """
    labels = list(dict.fromkeys(labels_N.tolist()))
    numbered = {label: classes[label] for label in labels if not _can_write(classes[label])}
    names = {
        label: f"#{label} {_writable_part(classes[label])}" if label in numbered else classes[label]
        for label in labels
    }
    enlarged = [_enlarged(image) for image in images_NSSC]
    if len(labels) <= MOST_ROWS:
        members = [np.flatnonzero(labels_N == label) for label in labels]
        groups = [[enlarged[i] for i in places] for places in members]
        body = _rows(groups, [names[label] for label in labels])
    else:
        body = _grid(enlarged, [names[label] for label in labels_N.tolist()])
    file = BytesIO()
    _with_title(body, title).save(file, "PNG")
    return Sheet(file.getvalue(), numbered)


def _enlarged(image_SSC: NDArray[np.uint8]) -> Image.Image:
    """Bring an image to about `CELL_PX`: small ones as whole squares, large ones smoothed."""
    image = Image.fromarray(image_SSC)
    side = image.width
    if side <= CELL_PX:
        side *= round(CELL_PX / side)  # a whole number of pixels for each: all become squares
        return image.resize((side, side), Image.Resampling.NEAREST)
    return image.resize((CELL_PX, CELL_PX), Image.Resampling.LANCZOS)


@functools.cache
def _fonts(size: int) -> tuple[Font, ...]:
    """Return Pillow's own font, which has little more than ASCII, and what the system has."""
    fonts: list[Font] = [ImageFont.load_default(size)]
    for name in _SYSTEM_FONTS:
        with contextlib.suppress(OSError):  # Pillow's word for a font that is not there
            fonts.append(ImageFont.truetype(name, size))
    return tuple(fonts)


def _has_letters(font: Font, text: str) -> bool:
    missing = bytes(font.getmask(_MISSING))
    return all(bytes(font.getmask(letter)) != missing for letter in set(text) - {" "})


def _can_write(name: str) -> bool:
    return any(_has_letters(font, _composed(name)) for font in _fonts(_NAME_SIZE))


def _writable_part(name: str) -> str:
    """Return the letters that Pillow's own font has, without their accents."""
    font = _fonts(_NAME_SIZE)[0]
    letters = (letter for letter in unicodedata.normalize("NFKD", name))
    return "".join(letter for letter in letters if _has_letters(font, letter)).strip()


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)  # fonts have é rather than an accent to put on an e


class _Text(NamedTuple):
    """A text that fits, and the font that has its letters."""

    text: str
    font: Font

    @property
    def width_px(self) -> float:
        return self.font.getlength(self.text)


def _fitted(text: str, size: int, width_px: int) -> _Text:
    """Shorten a text in the middle: names often differ at their ends."""
    text = _composed(text)
    fonts = _fonts(size)
    font = next((font for font in fonts if _has_letters(font, text)), fonts[0])
    if font.getlength(text) <= width_px:
        return _Text(text, font)
    for kept in range(len(text) - 1, 1, -1):
        short = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
        if font.getlength(short) <= width_px:
            return _Text(short, font)
    return _Text("…", font)


def _rows(groups: list[list[Image.Image]], names: list[str]) -> Image.Image:
    """Lay out a row, or several, for each class, its name on the left."""
    labels = [_fitted(name, _NAME_SIZE, _MOST_NAME_PX) for name in names]
    left = int(max(label.width_px for label in labels)) + 2 * _GAP_PX
    step = groups[0][0].width + _GAP_PX
    columns = min(_COLUMNS, max(len(images) for images in groups))
    heights = [-(-len(images) // columns) * step for images in groups]
    body = Image.new("RGB", (left + columns * step - _GAP_PX, sum(heights) - _GAP_PX), _PAGE)
    draw = ImageDraw.Draw(body)
    top = 0
    for label, images, height in zip(labels, groups, heights, strict=True):
        middle = top + (step - _GAP_PX) // 2
        draw.text((0, middle), label.text, _INK, font=label.font, anchor="lm")
        for index, image in enumerate(images):
            row, column = divmod(index, columns)
            body.paste(image, (left + column * step, top + row * step))
        top += height
    return body


def _grid(images: list[Image.Image], names: list[str]) -> Image.Image:
    """Lay out images in lines, the class below each."""
    side = images[0].width
    across, down = side + 2 * _GAP_PX, side + _LABEL_SIZE + 3 * _GAP_PX
    columns = _COLUMNS if len(images) <= _COLUMNS**2 else _MANY_COLUMNS
    lines = -(-len(images) // columns)
    body = Image.new("RGB", (columns * across, lines * down), _PAGE)
    draw = ImageDraw.Draw(body)
    for index, (image, name) in enumerate(zip(images, names, strict=True)):
        line, column = divmod(index, columns)
        left, top = column * across, line * down
        body.paste(image, (left, top))
        label = _fitted(name, _LABEL_SIZE, side)
        below = (left + side // 2, top + side + _GAP_PX // 2)
        draw.text(below, label.text, _INK, font=label.font, anchor="ma")
    return body


def _with_title(body: Image.Image, title: str) -> Image.Image:
    width = max(body.width, _LEAST_WIDTH_PX)
    head = _MARGIN_PX + _TITLE_SIZE + _MARGIN_PX
    sheet = Image.new("RGB", (width + 2 * _MARGIN_PX, head + body.height + _MARGIN_PX), _PAGE)
    label = _fitted(title, _TITLE_SIZE, width)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN_PX, head // 2), label.text, _INK, font=label.font, anchor="lm")
    sheet.paste(body, (_MARGIN_PX, head))
    return sheet
