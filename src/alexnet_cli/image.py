"""Images: which files are images, and from a file to the square of pixels that a network takes.

The only place for decoding, resizing and cropping, shared by data and inference, so that training
and prediction cannot differ. Shape letters: N batch, H height, W width, 3 = RGB.

All functions may be called from threads. None changes the process's warning filters, which threads
share, so Pillow may warn about odd metadata; see `silence_metadata_warnings`.
"""

import contextlib
import importlib
import os
import struct
import warnings
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from alexnet_cli.console import counted
from alexnet_cli.errors import DataError

SUFFIXES = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".bmp", ".dib", ".gif",
    ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm",
)  # fmt: skip
"""Suffixes of the files in a folder that are taken as images."""
_UNREADABLE = (
    ".heic", ".heif", ".jxl", ".jp2", ".svg", ".psd", ".tga", ".ico", ".dng", ".cr2", ".cr3",
    ".nef", ".arw", ".orf", ".rw2", ".raf",
)  # fmt: skip
MAX_PIXELS = 89_478_485  # above it Pillow warns of a decompression bomb; here that is an error
BACKGROUND = (255, 255, 255)  # behind transparent pixels

# Readable formats, by their first bytes. Only the reader needed is imported: Pillow, asked for one
# of several, first imports all of its seventy.
_FORMATS = {
    b"\x89PNG": "Png", b"\xff\xd8\xff": "Jpeg", b"RIFF": "WebP", b"BM": "Bmp", b"GIF8": "Gif",
    b"II": "Tiff", b"MM": "Tiff", b"P": "Ppm",
}  # fmt: skip
_AVIF = (b"ftypavif", b"ftypavis")  # behind the length of the first part of the file
_PHOTOMETRIC = 262  # TIFF's tag: 0 if sample 0 is white. Pillow inverts 8 bits itself, not 16.
# Exceptions of Pillow's decoders on damaged files, besides their own errors, as seen in tests.
_DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, OverflowError, MemoryError, TypeError, KeyError,
    IndexError, AttributeError, ZeroDivisionError, struct.error,
)  # fmt: skip

ImageInput = Path | bytes | NDArray[np.uint8] | Image.Image
"""A file, its bytes, RGB or grey pixels (H, W, 3) or (H, W), or a Pillow image."""


class LeftOut:
    """Counts what a search for images in folders passes over although it may be an image."""

    def __init__(self) -> None:
        self._numbers: Counter[tuple[str, str]] = Counter()

    def add(self, kind: str, cure: str) -> None:
        self._numbers[kind, cure] += 1

    def takes(self, path: Path | str) -> bool:
        """Return whether a file is taken, by its suffix; count one that may be an image too."""
        suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122 - paths by the million
        if suffix in SUFFIXES:
            return True
        if suffix in _UNREADABLE:
            self.add(f"{suffix} file", "convert to PNG or JPEG")
        elif not suffix and _is_image(Path(path)):
            self.add("image without a suffix", "add its suffix, such as .jpg")
        return False

    def add_linked_folder(self) -> None:
        self.add("linked folder", "copy it, or link its files")

    def describe(self) -> str:
        """Return kinds, numbers and cures in one line; empty if nothing was left out."""
        kinds = (f"{counted(n, kind)} ({cure})" for (kind, cure), n in self._numbers.items())
        return f"left out: {', '.join(kinds)}" if self._numbers else ""


def _is_image(path: Path) -> bool:
    try:
        _format_of(path)
    except (OSError, UnidentifiedImageError):
        return False
    return True


def prepare_image(
    source: ImageInput, *, image_size_px: int, crop_size_px: int, name: str | None = None
) -> NDArray[np.uint8]:
    """Decode, resize and centre-crop one image.

    A file, its bytes and its pixels give the same result, except large JPEGs (see `read_image`).
    `name` is that of the image in messages; by default its path.

    Returns:
        uint8, shape (`crop_size_px`, `crop_size_px`, 3).

    Raises:
        DataError: As `read_image`, or pixels that are not uint8, grey or RGB.
    """
    if isinstance(source, Path | bytes):
        square = read_square(source, image_size_px, name=name)
    else:
        square = resize_square(_pixels(source, name or "in memory"), image_size_px)
    return crop_centre(square, crop_size_px)


def read_square(
    source: Path | bytes, size_px: int, *, name: str | None = None
) -> NDArray[np.uint8]:
    """Decode an image as `read_image`, and resize it as `resize_square`."""
    return resize_square(read_image(source, name=name, at_least_px=2 * size_px), size_px)


def read_image(
    source: Path | bytes, *, name: str | None = None, at_least_px: int | None = None
) -> NDArray[np.uint8]:
    """Decode an image to upright RGB.

    EXIF orientation is applied, transparent pixels become white, animations give their first frame,
    and truncated files are refused. White is defined by the format: 65535 in 16 bits, 1.0 in
    floating point. Refused are samples without a white: 32-bit integers, and floats above 1.

    Args:
        source: A file, or its bytes.
        name: Name of the image in messages; by default its path.
        at_least_px: Side down to which a JPEG may be shrunk, by 2, 4 or 8, while it is decoded; by
            default it is not. libjpeg then leaves out frequencies that resizing would average away,
            in 1/2 to 1/10 of the time for JPEGs of 1,024 to 4,000 px and squares of 32 to 256 px.
            With twice the final side, pixels differ by 0.2 of 255 on average and by 2 at most;
            where the margin of the central square is odd, half a pixel of shift makes that 1.4 and
            7. With only the final side: up to 2.2 and 15.

    Returns:
        uint8, shape (H, W, 3).

    Raises:
        DataError: Not an image of a known format, damaged, or larger than `MAX_PIXELS`.
    """
    with _opened(source, name) as image:
        if at_least_px is not None:
            image.draft(None, (at_least_px, at_least_px))  # only JPEGs can do this
        return _upright_rgb(image, _label(source, name))


def check_header(path: Path) -> None:
    """Check, without decoding it, that a file is an image of a known format and a sane size.

    Raises:
        DataError: As `read_image`, except for damage after the header.
    """
    with _opened(path):
        pass


def silence_metadata_warnings() -> None:
    warnings.filterwarnings("ignore", module=r"PIL\.")


def resize_square(image: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Take the largest central square and resize it.

    Bilinear with anti-aliasing (Pillow's triangle filter, widened when shrinking).

    Paper §2: "we first rescaled the image such that the shorter side was of length 256, and then
    cropped out the central 256×256 patch". Here: the same square is cut out first, because
    otherwise a very long strip would be enlarged in full.

    Returns:
        uint8, shape (`size_px`, `size_px`, 3); a view of `image` if it has the right size already.
    """
    square = crop_centre(image, min(image.shape[:2]))
    if len(square) == size_px:
        return square
    resized = Image.fromarray(square).resize((size_px, size_px), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def resize_all(images_NHWC: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Apply `resize_square` to each image; return the same array if the size is right already."""
    if images_NHWC.shape[1:3] == (size_px, size_px):
        return images_NHWC
    resized = np.empty((len(images_NHWC), size_px, size_px, 3), np.uint8)
    for index, image in enumerate(images_NHWC):
        resized[index] = resize_square(image, size_px)
    return resized


def crop_centre(image: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Return a view of the central square of (..., H, W, 3), with H, W ≥ `size_px`."""
    height, width = image.shape[-3:-1]
    top, left = (height - size_px) // 2, (width - size_px) // 2
    return image[..., top : top + size_px, left : left + size_px, :]


@contextlib.contextmanager
def _opened(source: Path | bytes, name: str | None = None) -> Iterator[ImageFile.ImageFile]:
    """Open an image, its header checked; turn what goes wrong until it closes into a DataError."""
    label = _label(source, name)
    with _named_damage(label):
        if isinstance(source, Path) and source.exists() and not source.is_file():
            raise _refusal(label, "it is not a regular file")
        stream = BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(stream, formats=[_format_of(source)]) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _refusal(label, f"{image.width}×{image.height} pixels are too many")
            if image.format == "TIFF" and not _has_all_pixels(image):
                raise _refusal(label, "damaged: some of its pixels are not in the file")
            yield image


def _label(source: Path | bytes, name: str | None) -> str:
    return name or (str(source) if isinstance(source, Path) else "standard input")


def _format_of(source: Path | bytes) -> str:
    """Return Pillow's name of the only format that a file can have, its reader imported."""
    with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        start = file.read(12)
    found = (name for magic, name in _FORMATS.items() if start.startswith(magic))
    name = "Avif" if start[4:] in _AVIF else next(found, None)
    if name is None:
        raise UnidentifiedImageError
    importlib.import_module(f"PIL.{name}ImagePlugin")
    return name.upper()


def _has_all_pixels(tiff: ImageFile.ImageFile) -> bool:
    """Check that a TIFF's strips or tiles cover it; Pillow leaves pixels that are missing black."""
    boxes = [tile.extents or (0, 0, *tiff.size) for tile in tiff.tile]
    area = sum((right - left) * (lower - upper) for left, upper, right, lower in boxes)
    # Compressed files are one tile. `raw` ones have strips for each plane where planes are apart.
    is_planar = tiff.getexif().get(ExifTags.Base.PlanarConfiguration) == 2
    has_planes = is_planar and tiff.info["compression"] == "raw"
    return area >= tiff.width * tiff.height * (len(tiff.getbands()) if has_planes else 1)


@contextlib.contextmanager
def _named_damage(label: str) -> Iterator[None]:
    """Turn exceptions of a decoder into an error that names the image."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(
            f"no such image: {label}", hint="check the path", code="image_missing"
        ) from error
    except UnidentifiedImageError as error:
        raise _refusal(label, "not a PNG, JPEG, WebP, AVIF, BMP, GIF, TIFF or PPM image") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise _refusal(label, "more pixels than a sane image has") from error
    except _DAMAGE as error:
        # A decoder's OSError has a text alone; the system's has a number too.
        reason = error.strerror if isinstance(error, OSError) else None
        raise _refusal(label, reason or f"damaged: {error}") from error


def _refusal(label: str, reason: str) -> DataError:
    return DataError(
        f"cannot read image {label} ({reason})",
        hint="convert it to PNG or JPEG and try again",
        code="image_unreadable",
    )


def _pixels(source: NDArray[np.uint8] | Image.Image, label: str) -> NDArray[np.uint8]:
    """Return an image in memory as upright RGB."""
    with _named_damage(label):
        if isinstance(source, Image.Image):
            if not source.width * source.height:
                raise _refusal(label, "it has no pixels")
            return _upright_rgb(source, label)
        shape, is_grey = source.shape, source.ndim == 2
        if source.dtype != np.uint8 or not (is_grey or shape[2:] == (3,)) or not source.size:
            raise _refusal(label, f"{source.dtype} of shape {shape} is not uint8 (H, W, 3)")
        return np.repeat(source[..., None], 3, axis=2) if is_grey else source


def _upright_rgb(image: Image.Image, label: str) -> NDArray[np.uint8]:
    transparent = _transparent_sample(image)  # before what forgets the format
    has_many_bits = image.mode.startswith("I") or image.mode == "F"
    white = _white_sample(image, label) if has_many_bits else 255
    is_white_zero = image.format == "TIFF" and image.getexif().get(_PHOTOMETRIC) == 0
    upright = ImageOps.exif_transpose(image)
    if has_many_bits:
        samples = np.asarray(upright).astype(np.float64)
        if not ((samples >= 0) & (samples <= white)).all():
            raise _refusal(label, f"it has samples that are not between 0 and {white:g}")
        levels = np.rint(samples * (255 / white)).astype(np.uint8)
        levels = 255 - levels if is_white_zero else levels
        levels[samples == transparent] = 255
        return np.repeat(levels[..., None], 3, axis=2)
    if transparent is not None:
        upright.info["transparency"] = transparent
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        canvas = Image.new("RGBA", layer.size, (*BACKGROUND, 255))
        upright = Image.alpha_composite(canvas, layer)
    return np.asarray(upright.convert("RGB"))


def _white_sample(image: Image.Image, label: str) -> float:
    """Return the sample that is white in a grey image of more than 8 bits, by mode and format."""
    if image.mode == "F":
        return 1.0
    # Pillow reads 16-bit PGM, whatever its greatest value, as 32-bit integers up to 65535.
    if image.mode.startswith("I;16") or image.format in ("PNG", "PPM"):
        return 65535.0
    raise _refusal(label, "32-bit integer samples have no defined white level")


def _transparent_sample(image: Image.Image) -> int | tuple[int, ...] | None:
    """Return the grey or colour that a PNG calls transparent, in the range of the decoded samples.

    Pillow scales samples of 2 and 4 bits up and those of 16-bit colour down, and this one not.
    """
    value = image.info.get("transparency")
    tiles = getattr(image, "tile", [])
    if image.format != "PNG" or not isinstance(value, int | tuple) or not tiles:
        return None
    raw_mode = str(tiles[0].args)
    if isinstance(value, tuple):
        return tuple(sample >> 8 for sample in value) if raw_mode.endswith(";16B") else value
    bits = {"L;2": 2, "L;4": 4}.get(raw_mode)
    return value * 255 // (2**bits - 1) if bits else value
