"""Damaged images: pixels or a DataError, no signal, no hang; and `predict` ends with 0 or 1."""

import io
import json
import re
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.faults.conftest import IS_LONG
from tests.faults.file_reader import LONGEST_SECONDS, FileReader
from tests.faults.mutants import mutate

_MUTANTS = 20_000 if IS_LONG else 300
_FEW = 20
_AT_ONCE = 100
_HEADER = range(120)
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")


def seeds(file_format):
    """Return whole files of a format: colour, grey, and what else it is known for."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    image = Image.fromarray(noise)
    exif = Image.Exif()
    exif[0x0112] = 6
    variants: list[tuple[Image.Image, dict[str, object]]] = [(image, {}), (image.convert("L"), {})]
    match file_format:
        case "PNG":
            grey = Image.fromarray(np.linspace(0, 65535, 768).astype(np.uint16).reshape(24, 32))
            variants += [(image.convert("RGBA"), {}), (grey, {}), (image.convert("P"), {})]
        case "JPEG":
            variants += [(image, {"exif": exif, "progressive": True}), (image.convert("CMYK"), {})]
        case "WEBP":
            variants += [(image, {"lossless": True, "exif": exif})]
        case "GIF":
            variants += [(image, {"save_all": True, "append_images": [image.rotate(90)]})]
        case "TIFF":
            for compression in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg"):
                variants.append((image, {"compression": compression, "exif": exif}))
    contents = []
    for variant, options in variants:
        stream = io.BytesIO()
        variant.save(stream, file_format, **options)
        contents.append(stream.getvalue())
    return contents


def with_checksums(png):
    """Return a PNG whose chunks have the right checksums, so that what is in them is looked at."""
    changed, place = bytearray(png), 8
    while place + 12 <= len(png):
        end = place + 8 + int.from_bytes(png[place : place + 4])
        changed[end : end + 4] = zlib.crc32(png[place + 4 : end]).to_bytes(4)
        place = end + 4
    return bytes(changed)


def read_mutants(reader, file_format, folder, count):
    """Have whole files of a format read, and so many damaged ones."""
    random, wholes = np.random.default_rng(8), seeds(file_format)
    at_once = min(count, _AT_ONCE)
    paths = [folder / f"{place}.{file_format.lower()}" for place in range(at_once)]
    for whole, path in zip(wholes, paths, strict=False):
        path.write_bytes(whole)
    assert set(reader.read(paths[: len(wholes)])) == {"read"}
    for begin in range(0, count, at_once):
        for place, path in enumerate(paths):
            whole = wholes[(begin + place) % len(wholes)]
            tail = range(max(0, len(whole) - 120), len(whole))  # where TIFF has its directory
            mutant = mutate(whole, random, hot=(_HEADER, tail))
            is_summed = file_format == "PNG" and random.integers(2)
            path.unlink(missing_ok=True)  # ext4 flushes a file that is written over to disk
            path.write_bytes(with_checksums(mutant) if is_summed else mutant)
        reader.read(paths)


@pytest.mark.slow
@pytest.mark.timeout(3_600 if IS_LONG else 300)
@pytest.mark.parametrize("file_format", FORMATS)
def test_mutants_of_a_format(file_format, tmp_path, report):
    with FileReader("images") as reader:
        read_mutants(reader, file_format, tmp_path, _MUTANTS)
    report(str(reader))
    assert set(reader.counts) == {"read", "refused"}
    assert reader.slowest_seconds < LONGEST_SECONDS


def test_a_few_mutants_of_each_format(tmp_path):
    with FileReader("images") as reader:
        for file_format in FORMATS:
            read_mutants(reader, file_format, tmp_path, _FEW)
    assert set(reader.counts) == {"read", "refused"}


def test_predict_on_mutants_of_all_formats(exports, alexnet_process, isolated):
    random, folder = np.random.default_rng(9), isolated / "mutants"
    folder.mkdir()
    for file_format in FORMATS:
        for number, whole in enumerate(seeds(file_format)):
            for copy in range(12):
                path = folder / f"{number}-{copy}.{file_format.lower()}"
                path.write_bytes(mutate(whole, random, hot=(_HEADER,)))
    model = exports / "whole" / "model.onnx"
    result = alexnet_process("predict", folder, "--model", model, "--json", "--quiet", "-k", "1")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    # What libtiff and libjpeg say, from other threads, may stand before or behind one in its line.
    starts = [match.start() for match in re.finditer(r'\{"error"', result.stderr)]
    errors = [json.JSONDecoder().raw_decode(result.stderr, start)[0] for start in starts]
    assert {error["error"]["code"] for error in errors} == {"image_unreadable"}
    # libtiff and libjpeg write to the process's stderr by themselves; Python says nothing more.
    assert not [line for line in result.stderr.splitlines() if "Warning" in line]
    assert len(errors) + len(result.stdout.splitlines()) == len(list(folder.iterdir()))
