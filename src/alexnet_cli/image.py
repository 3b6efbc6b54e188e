"""From an image file to the square of pixels a network sees.

The one place for decoding, resizing and cropping, shared by data and inference, so that training
and prediction cannot differ. Shape letters: H height, W width, 3 = RGB.
"""

import contextlib
import importlib
import struct
import warnings
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from alexnet_cli.errors import DataError

# Formats that are read, by what their files begin with. Their reader alone is imported: Pillow,
# asked for one of several, imports all of its seventy first.
_FORMATS = {
    b"\x89PNG": "Png", b"\xff\xd8\xff": "Jpeg", b"RIFF": "WebP", b"BM": "Bmp", b"GIF8": "Gif",
    b"II": "Tiff", b"MM": "Tiff", b"P": "Ppm",
}  # fmt: skip
SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm",
)  # fmt: skip
"""Names of files that are taken for images."""
MAX_PIXELS = 89_478_485  # above it Pillow warns of a decompression bomb; here that is an error
# What Pillow's decoders were seen to raise on damaged files, beside their own errors.
_DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, OverflowError, MemoryError, TypeError, KeyError,
    IndexError, AttributeError, ZeroDivisionError, struct.error,
)  # fmt: skip
BACKGROUND = (255, 255, 255)  # what shows through transparency

ImageSource = Path | bytes | NDArray[np.uint8] | Image.Image
"""A file, the bytes of one, RGB or grey pixels (H, W, 3) or (H, W), or an image of Pillow's."""


def read_image(source: Path | bytes, *, name: str | None = None) -> NDArray[np.uint8]:
    """Decode an image to upright RGB.

    EXIF orientation is applied, 16-bit samples are scaled rather than clipped, transparency is
    laid over white, the first frame of an animation is taken, and a truncated file is refused.

    Args:
        source: A file, or the bytes of one.
        name: What to call it in messages; the path by default.

    Returns:
        uint8 array, shape (H, W, 3).

    Raises:
        DataError: Not an image of a known format, damaged, or larger than `MAX_PIXELS`.
    """
    with _strict_about_size_alone():
        return np.asarray(_decode(source, name=name))


def read_square(
    source: Path | bytes, size_px: int, *, name: str | None = None
) -> NDArray[np.uint8]:
    """Decode an image as `read_image` and resize it as `resize_square`, for use in threads.

    A large JPEG is decoded at 1/2, 1/4 or 1/8 of its size, the smallest that still has twice the
    pixels asked for. Unlike `read_image` it does not touch the process's warning filters, which
    all threads share; Pillow may warn about odd metadata.

    Args:
        source: A file, or the bytes of one.
        size_px: Side of the result.
        name: What to call it in messages; the path by default.

    Returns:
        uint8, shape (`size_px`, `size_px`, 3).

    Raises:
        DataError: As `read_image`.
    """
    image = _decode(source, name=name, smallest_px=2 * size_px)
    return resize_square(np.asarray(image), size_px)


def silence_metadata_warnings() -> None:
    """Silence Pillow's warnings for good, as who has threads must: they share the filters."""
    warnings.filterwarnings("ignore", module=r"PIL\.")


def check_header(path: Path) -> None:
    """Find out, without decoding it, that a file is an image of a known format and a sane size.

    Raises:
        DataError: As `read_image`, but for damage behind the header.
    """
    with _strict_about_size_alone():
        _decode(path, header_only=True)


@contextlib.contextmanager
def _strict_about_size_alone() -> Iterator[None]:
    """Ignore warnings about odd metadata, the pixels are what counts; refuse too many pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _decode(
    source: Path | bytes,
    *,
    name: str | None = None,
    smallest_px: int | None = None,
    header_only: bool = False,
) -> Image.Image:
    """Open an image and make it upright RGB; the doors to it are the functions above.

    Args:
        source: A file, or the bytes of one.
        name: What to call it in messages.
        smallest_px: Least side that a JPEG may be shrunk to while it is decoded; never by default.
            libjpeg then leaves out frequencies that the resizing would average away. On JPEGs of
            1,024 to 4,000 px made into 32 to 256 px this takes 1/2 to 1/10 of the time. Where
            twice the final side is left, pixels differ by 0.2 of 255 on average and 2 at most;
            with half a pixel's shift of the central square, where its margin is odd, by 1.4 and 7
            (a quarter of a pixel of the result at most). Without that reserve: up to 2.2 and 15.
        header_only: Do not decode; the image returned has no pixels.
    """
    label = name or (str(source) if isinstance(source, Path) else "standard input")
    if isinstance(source, Path) and source.exists() and not source.is_file():
        raise _refused(label, "it is not a regular file")
    with _named_damage(label):
        stream = BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(stream, formats=[_format_of(source)]) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _refused(label, f"{image.width}×{image.height} pixels are too many")
            if image.format == "TIFF" and not _is_covered(image):
                raise _refused(label, "damaged: a part of its pixels is not in the file")
            if header_only:
                return image
            if smallest_px is not None:
                image.draft(None, (smallest_px, smallest_px))  # does nothing but to a JPEG
            return _to_rgb(ImageOps.exif_transpose(image))


def _is_covered(tiff: ImageFile.ImageFile) -> bool:
    """Tell whether a TIFF's strips or tiles cover it; what they do not, Pillow leaves black."""
    boxes = [tile.extents or (0, 0, *tiff.size) for tile in tiff.tile]
    area = sum((right - left) * (lower - upper) for left, upper, right, lower in boxes)
    # Compressed files are one tile. `raw` ones have strips for each plane where planes are apart.
    is_planar = tiff.getexif().get(ExifTags.Base.PlanarConfiguration) == 2
    has_planes = is_planar and tiff.info["compression"] == "raw"
    return area >= tiff.width * tiff.height * (len(tiff.getbands()) if has_planes else 1)


def _format_of(source: Path | bytes) -> str:
    """Return Pillow's name of the one format that a file may have, its reader imported."""
    if isinstance(source, bytes):
        begin = source[:8]
    else:
        with source.open("rb") as file:
            begin = file.read(8)
    for magic, name in _FORMATS.items():
        if begin.startswith(magic):
            importlib.import_module(f"PIL.{name}ImagePlugin")
            return name.upper()
    raise UnidentifiedImageError


@contextlib.contextmanager
def _named_damage(label: str) -> Iterator[None]:
    """Turn what goes wrong in decoding into an error that names the image."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(
            f"no such image: {label}", hint="check the path", code="image_missing"
        ) from error
    except UnidentifiedImageError as error:
        raise _refused(label, "not a PNG, JPEG, WebP, BMP, GIF, TIFF or PPM image") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise _refused(label, "more pixels than a sane image has") from error
    except PermissionError as error:
        raise _refused(label, "permission denied") from error
    except _DAMAGE as error:
        raise _refused(label, f"damaged: {error}") from error


def _refused(label: str, reason: str) -> DataError:
    return DataError(
        f"cannot read image {label} ({reason})",
        hint="convert it to PNG or JPEG and try again",
        code="image_unreadable",
    )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _scale_to_8_bits(image)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        canvas = Image.new("RGBA", layer.size, (*BACKGROUND, 255))
        return Image.alpha_composite(canvas, layer).convert("RGB")
    return image.convert("RGB")


def _scale_to_8_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit and float grey images; `.convert("RGB")` would clip them at 255."""
    samples = np.nan_to_num(np.asarray(image).astype(np.float64))
    highest = samples.max(initial=0.0)
    if image.mode.startswith("I;16"):
        full_scale = 65535.0
    else:  # such files do not say what white is
        full_scale = 1.0 if image.mode == "F" and highest <= 1.0 else 255.0
        full_scale = full_scale if highest <= 255.0 else 65535.0
    levels = np.clip(np.rint(samples * (255.0 / full_scale)), 0, 255).astype(np.uint8)
    return Image.fromarray(levels).convert("RGB")


def resize_square(image: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Take the largest central square and resize it.

    Bilinear with anti-aliasing (Pillow's triangle filter, widened when shrinking).

    Paper §2: "we first rescaled the image such that the shorter side was of length 256, and then
    cropped out the central 256×256 patch". Here: the same square is cut out first, because a
    very long strip would else be enlarged as a whole.

    Args:
        image: uint8, shape (H, W, 3).
        size_px: Side of the result.

    Returns:
        uint8, shape (`size_px`, `size_px`, 3); a view of `image` where its size is right already.
    """
    square = crop_centre(image, min(image.shape[:2]))
    if len(square) == size_px:
        return square
    resized = Image.fromarray(square).resize((size_px, size_px), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def resize_all(images_NHWC: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Apply `resize_square` to each image.

    Args:
        images_NHWC: uint8, shape (N, H, W, 3).
        size_px: Side of the results.

    Returns:
        uint8, shape (N, `size_px`, `size_px`, 3); the same array where the size is right already.
    """
    if images_NHWC.shape[1:3] == (size_px, size_px):
        return images_NHWC
    resized = np.empty((len(images_NHWC), size_px, size_px, 3), np.uint8)
    for index, image in enumerate(images_NHWC):
        resized[index] = resize_square(image, size_px)
    return resized


def crop_centre(image: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Cut the central square out of the last-but-one two axes.

    Args:
        image: uint8, shape (..., H, W, 3) with H, W ≥ `size_px`.
        size_px: Side of the square.

    Returns:
        A view, shape (..., `size_px`, `size_px`, 3).
    """
    height, width = image.shape[-3:-1]
    top, left = (height - size_px) // 2, (width - size_px) // 2
    return image[..., top : top + size_px, left : left + size_px, :]


def prepare_image(
    source: ImageSource, *, image_size_px: int, crop_size_px: int, name: str | None = None
) -> NDArray[np.uint8]:
    """Decode, resize and centre-crop one image, for use in threads as `read_square`.

    A file, its bytes and its pixels give the same, large JPEGs apart (see `read_square`).

    Args:
        source: A file, the bytes of one, or pixels.
        image_size_px: Side of the square that is resized to.
        crop_size_px: Side of its centre that is kept.
        name: What to call it in messages; the path by default.

    Raises:
        DataError: As `read_image`, or pixels that are not uint8, grey or RGB.

    Returns:
        uint8, shape (`crop_size_px`, `crop_size_px`, 3).
    """
    if isinstance(source, Path | bytes):
        square = read_square(source, image_size_px, name=name)
    else:
        square = resize_square(_pixels(source, name or "in memory"), image_size_px)
    return crop_centre(square, crop_size_px)


def _pixels(source: NDArray[np.uint8] | Image.Image, label: str) -> NDArray[np.uint8]:
    """Make what is in memory upright RGB."""
    with _named_damage(label):
        if isinstance(source, Image.Image):
            if not source.width * source.height:
                raise _refused(label, "it has no pixels")
            return np.asarray(_to_rgb(ImageOps.exif_transpose(source)))
        shape, is_grey = source.shape, source.ndim == 2
        if source.dtype != np.uint8 or not (is_grey or shape[2:] == (3,)) or not source.size:
            raise _refused(label, f"{source.dtype} of shape {shape} is not uint8 (H, W, 3)")
        return np.repeat(source[..., None], 3, axis=2) if is_grey else source
