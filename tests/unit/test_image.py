import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from alexnet_cli.errors import DataError
from alexnet_cli.image import (
    check_header,
    crop_centre,
    prepare_image,
    read_image,
    read_square,
    resize_square,
)

ORIENTATION_TAG = 0x0112
# What a camera stores so that a viewer, following the tag, shows the upright image again.
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.fixture(scope="module")
def upright():
    return np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)


def encode(image, file_format, **options):
    stream = io.BytesIO()
    if not isinstance(image, Image.Image):
        image = Image.fromarray(np.ascontiguousarray(image))
    image.save(stream, file_format, **options)
    return stream.getvalue()


def png_of(width, height, *, bit_depth, colour_type, rows, transparent=b""):
    """Write a PNG by hand: Pillow cannot write every one that it must read."""

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + (chunk(b"tRNS", transparent) if transparent else b"")
    body += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff_of(strips, *, height, rows_per_strip, planar=False):
    """Write an uncompressed RGB TIFF, 4 px wide, by hand: Pillow writes none that lacks a part."""
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    starts = [sum(map(len, strips[:number])) for number in range(len(strips))]  # behind it
    directory.update({256: 4, 257: height, 258: (8, 8, 8), 259: 1, 262: 2, 273: tuple(starts)})
    directory.update({277: 3, 278: rows_per_strip, 279: tuple(map(len, strips))})
    directory[284] = 2 if planar else 1
    return b"II*\0" + struct.pack("<I", 8) + directory.tobytes(8) + b"".join(strips)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_every_exif_orientation_comes_out_upright(upright, file_format, orientation):
    image = upright
    if file_format == "JPEG":  # lossy: a smooth image survives it nearly unchanged
        ramp = np.add.outer(np.arange(16) * 8, np.arange(32) * 4).astype(np.uint8)
        image = np.stack([ramp, ramp, ramp], axis=2)
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(file_format, {})
    content = encode(STORED[orientation](image), file_format, exif=exif, **options)
    decoded = read_image(content)
    assert decoded.shape == image.shape
    tolerance = 4 if file_format == "JPEG" else 0
    assert np.abs(decoded.astype(int) - image).max() <= tolerance


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_samples_are_scaled_not_clipped(file_format):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(3, axis=0)
    decoded = read_image(encode(Image.fromarray(ramp), file_format))
    expected = np.arange(256)[None, :, None]
    assert decoded.shape == (3, 256, 3)
    assert np.abs(decoded.astype(int) - expected).max() <= 1


def test_sixteen_bit_colour_is_scaled_too():
    content = png_of(1, 1, bit_depth=16, colour_type=2, rows=b"\0\x10\x00\x80\x00\xff\xff")
    assert read_image(content).tolist() == [[[16, 128, 255]]]


def test_white_of_floats_is_one():
    floats = Image.fromarray(np.array([[0, 0.5, 1]], np.float32))
    dark = Image.fromarray(np.array([[0, 0.25, 0.5]], np.float32))
    assert read_image(encode(floats, "TIFF"))[0, :, 0].tolist() == [0, 128, 255]
    assert read_image(encode(dark, "TIFF"))[0, :, 0].tolist() == [0, 64, 128]


@pytest.mark.parametrize("samples", [[0, 1.01], [-0.01, 1], [0, 255], [0, float("nan")]])
def test_floats_that_are_not_between_black_and_white_are_refused(samples):
    with pytest.raises(DataError):
        read_image(encode(Image.fromarray(np.array([samples], np.float32)), "TIFF"))


def test_integers_of_32_bits_are_refused():
    with pytest.raises(DataError):
        read_image(encode(Image.fromarray(np.array([[0, 200]], np.int32)), "TIFF"))


@pytest.mark.parametrize("highest", [300, 1000, 65535])
def test_white_of_a_pgm_is_in_its_header(highest):
    samples = struct.pack(">3H", 0, highest // 10, highest)
    decoded = read_image(b"P5 3 1 %d\n" % highest + samples)
    assert decoded[0, :, 0].tolist() == [0, 26 if highest != 65535 else 25, 255]
    dark = read_image(b"P5 3 1 %d\n" % highest + struct.pack(">3H", 0, 1, 2))
    assert dark.max() < 3


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_whose_zero_is_white_is_inverted(bits):
    kind = np.uint8 if bits == 8 else np.uint16
    dark = Image.fromarray(np.array([[0, 1 << bits - 2, (1 << bits) - 1]], kind))
    content = encode(dark, "TIFF", tiffinfo={262: 0})
    # Pillow writes the samples of 8 bits inverted, so that they read as they were.
    assert read_image(content)[0, :, 0].tolist() == ([0, 64, 255] if bits == 8 else [255, 191, 0])


@pytest.mark.parametrize(
    ("bits", "rows", "expected"),
    [
        (1, b"\0\x40", [0, 255]),
        (2, b"\0\x10", [0, 255]),
        (4, b"\0\x01", [0, 255]),
        (8, b"\0\x00\x01", [0, 255]),
        (16, b"\0\0\0\0\1", [0, 255]),
    ],
)
def test_the_transparent_grey_of_every_depth(bits, rows, expected):
    content = png_of(2, 1, bit_depth=bits, colour_type=0, rows=rows, transparent=b"\0\1")
    assert read_image(content)[0, :, 0].tolist() == expected


def test_the_transparent_colour_of_16_bits():
    rows = b"\0" + b"\x80\x01" * 3 + b"\x10\x00" * 3
    content = png_of(2, 1, bit_depth=16, colour_type=2, rows=rows, transparent=b"\x80\x01" * 3)
    assert read_image(content)[0].tolist() == [[255] * 3, [16] * 3]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_is_laid_over_white(mode):
    # From left to right: black seen fully, by half, not at all.
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 3] = 255, 128, 0
    image = Image.fromarray(pixels)
    content = encode(image if mode == "RGBA" else image.convert("LA"), "PNG")
    if mode == "PA":  # a palette with a transparent entry
        palette = Image.new("P", (3, 1))
        palette.putpalette([0, 0, 0, 0, 0, 0, 0, 0, 0])
        palette.putdata([0, 1, 2])
        content = encode(palette, "PNG", transparency=bytes([255, 128, 0]))
    decoded = read_image(content)
    assert decoded.shape == (1, 3, 3)
    assert decoded[0].tolist() == [[0] * 3, [127] * 3, [255] * 3]


@pytest.mark.parametrize(
    ("mode", "file_format", "colour", "expected"),
    [
        ("1", "PNG", 1, (255, 255, 255)),
        ("L", "PNG", 77, (77, 77, 77)),
        ("P", "GIF", (200, 30, 40), (200, 30, 40)),
        ("P", "PNG", (200, 30, 40), (200, 30, 40)),
        ("P", "BMP", (200, 30, 40), (200, 30, 40)),
        ("LA", "PNG", (77, 255), (77, 77, 77)),
        ("RGB", "WEBP", (200, 30, 40), (200, 30, 40)),
        ("RGB", "AVIF", (200, 30, 40), (200, 30, 40)),
        ("RGB", "PPM", (200, 30, 40), (200, 30, 40)),
        ("CMYK", "JPEG", (0, 255, 255, 0), (255, 0, 0)),
        ("CMYK", "TIFF", (0, 255, 255, 0), (255, 0, 0)),
    ],
)
def test_every_mode_becomes_rgb(mode, file_format, colour, expected):
    if mode == "P":
        image = Image.new("P", (20, 10), 1)
        image.putpalette([0, 0, 0, *colour])
    else:
        image = Image.new(mode, (20, 10), colour)
    options = {"lossless": True} if file_format == "WEBP" else {}
    decoded = read_image(encode(image, file_format, **options))
    assert decoded.dtype == np.uint8
    assert decoded.shape == (10, 20, 3)
    assert np.abs(decoded.astype(int) - np.array(expected)).max() <= 3


def test_an_animation_gives_its_first_frame():
    red, blue = Image.new("RGB", (4, 4), (255, 0, 0)), Image.new("RGB", (4, 4), (0, 0, 255))
    content = encode(red, "GIF", save_all=True, append_images=[blue])
    assert (read_image(content) == (255, 0, 0)).all()


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        *((name, {}) for name in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "PPM", "TIFF")),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")
def test_a_truncated_file_is_refused(tmp_path, file_format, options):
    pixels = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
    content = encode(pixels, file_format, **options)
    path = tmp_path / "image"
    codes = []
    for sixteenths in range(16):
        part = content[: len(content) * sixteenths // 16]
        path.write_bytes(part)
        for source in (part, path):
            try:  # any other exception fails the test
                assert read_image(source).shape == (48, 64, 3)
            except DataError as error:
                codes.append(error.code)
    assert codes == ["image_unreadable"] * 32


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")
def test_a_tiff_that_lacks_strips_is_refused(planar):
    strips = [bytes([shade]) * (4 * 2 * (1 if planar else 3)) for shade in (10, 20, 30, 40, 50, 60)]
    strips = strips if planar else strips[:2]
    layout = {"rows_per_strip": 2, "planar": planar}
    pixels = read_image(tiff_of(strips, height=4, **layout))
    assert pixels[3, 3].tolist() == ([20, 40, 60] if planar else [20, 20, 20])
    for part, height in ((strips[:-1], 4), (strips, 400_000)):
        with pytest.raises(DataError, match="not in the file"):
            read_image(tiff_of(part, height=height, **layout))


def test_trailing_bytes_and_a_wrong_extension_do_not_matter(tmp_path, upright):
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode(upright, "PNG") + b"trailing")
    np.testing.assert_array_equal(read_image(path), upright)


@pytest.mark.parametrize("side_px", [14_000, 60_000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side_px):
    bomb = png_of(side_px, side_px, bit_depth=1, colour_type=0, rows=b"")
    with pytest.raises(DataError, match="pixels"):
        read_image(bomb, name="bomb.png")


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>no image</html>", b"%PDF-1.4", encode(Image.new("RGB", (8, 8)), "ICO")],
    ids=["empty", "HTML", "PDF", "ICO"],
)
def test_another_kind_of_file_is_refused_by_name(content):
    with pytest.raises(DataError, match="not a PNG") as caught:
        read_image(content, name="upload")
    assert "upload" in caught.value.message


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("missing.png", "image_missing", "no such image"),
        ("folder", "image_unreadable", "it is not a regular file"),
        ("file/below.png", "image_unreadable", "file"),
        ("n\0ul.png", "image_unreadable", "null"),
    ],
)
def test_a_path_that_cannot_be_read_is_named(tmp_path, name, code, reason):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=reason) as caught:
        read_image(tmp_path / name)
    assert caught.value.code == code
    assert name in caught.value.message


@pytest.mark.parametrize(("height", "width"), [(100, 50), (50, 100), (33, 32), (500, 1), (1, 500)])
def test_the_result_is_the_square_that_was_asked_for(height, width):
    assert resize_square(np.zeros((height, width, 3), np.uint8), 32).shape == (32, 32, 3)


def test_shrinking_averages_instead_of_skipping():
    # A fine chequerboard is grey from afar; a filter without anti-aliasing keeps black and white.
    board = (np.indices((128, 128)).sum(axis=0) % 2 * 255).astype(np.uint8)
    small = resize_square(np.stack([board] * 3, axis=2), 16)
    assert np.abs(small.astype(int) - 127).max() <= 3


@pytest.mark.parametrize(
    ("height", "width", "top", "left"), [(4, 4, 0, 0), (6, 9, 1, 2), (5, 4, 0, 0)]
)
def test_crop_centre_takes_the_middle(height, width, top, left):
    images = np.arange(2 * height * width * 3).reshape(2, height, width, 3)
    expected = images[:, top : top + 4, left : left + 4]
    np.testing.assert_array_equal(crop_centre(images, 4), expected)
    np.testing.assert_array_equal(crop_centre(images[1], 4), expected[1])


def test_prepare_image_resizes_then_crops_twice():
    # Left third red, middle third green, right third blue: only green is left in the centre.
    bands = np.zeros((40, 120, 3), np.uint8)
    bands[:, :40, 0] = bands[:, 40:80, 1] = bands[:, 80:, 2] = 255
    prepared = prepare_image(encode(bands, "PNG"), image_size_px=32, crop_size_px=28)
    assert prepared.shape == (28, 28, 3)
    assert (prepared == (0, 255, 0)).all()


def test_a_very_long_strip_is_prepared_or_refused():
    width = 17_000_000
    content = png_of(width, 1, bit_depth=1, colour_type=0, rows=bytes(1 + width // 8 + 1))
    with contextlib.suppress(DataError):
        assert prepare_image(content, image_size_px=256, crop_size_px=224).shape == (224, 224, 3)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    ("width", "height", "mean", "highest"),
    [
        (640, 480, 1, 6),
        (1000, 700, 3, 14),  # at 250 × 175 the central square lies half a pixel off
    ],
)
def test_a_large_jpeg_decoded_at_a_reduced_size_looks_the_same(
    width, height, mean, highest, orientation
):
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    smooth = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    content = encode(smooth, "JPEG", quality=90, exif=exif)
    whole = resize_square(read_image(content), 48)
    reduced = read_square(content, 48)
    assert not np.array_equal(reduced, whole)  # or the test shows nothing
    difference = np.abs(reduced.astype(int) - whole)
    assert difference.mean() < mean
    assert difference.max() <= highest


@pytest.mark.parametrize(("file_format", "side"), [("PNG", 300), ("JPEG", 95)])
def test_other_images_are_decoded_whole(file_format, side):
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    content = encode(pixels, file_format)
    expected = resize_square(read_image(content), 24 if file_format == "PNG" else 48)
    np.testing.assert_array_equal(read_square(content, len(expected)), expected)
    prepared = prepare_image(content, image_size_px=len(expected), crop_size_px=len(expected))
    np.testing.assert_array_equal(prepared, expected)


def test_a_header_is_checked_without_the_pixels(tmp_path, upright):
    path = tmp_path / "a.png"
    path.write_bytes(encode(upright, "PNG")[:60])
    check_header(path)
    path.write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match="not a PNG"):
        check_header(path)
