"""Corruptions compared with plain loops, each image independent of the others."""

import hashlib
import math
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from alexnet_cli.data.arrays import ImageArrays, iterate_images
from alexnet_cli.data.corruption import (
    Corruption,
    CorruptionKind,
    all_corruptions,
    corrupt,
    corrupted,
    parse_corruption,
)
from alexnet_cli.data.folder import load_train
from alexnet_cli.errors import UsageError


def draw(count=6, height=9, width=7):
    shape = (count, height, width, 3)
    return np.random.default_rng(4).integers(0, 256, shape, np.uint8)


def places(images):
    return np.arange(len(images), dtype=np.int64)


def blurred_pixel(image, y, x, channel, sigma):
    """The weighted mean around one pixel, in two dimensions at once; the edge repeats outside."""
    radius = int(4 * sigma + 0.5)
    total = weights = 0.0
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            weight = math.exp(-(dx * dx + dy * dy) / (2 * sigma * sigma))
            row = min(max(y + dy, 0), image.shape[0] - 1)
            column = min(max(x + dx, 0), image.shape[1] - 1)
            total += weight * float(image[row, column, channel])
            weights += weight
    return total / weights


@pytest.mark.parametrize(("severity", "sigma"), list(enumerate((0.4, 0.6, 0.7, 0.8, 1.0), start=1)))
def test_blur_is_the_mean_around_each_pixel(severity, sigma):
    images = draw(2)
    result = corrupt(images, Corruption(CorruptionKind.BLUR, severity), places(images))
    for index in np.ndindex(images.shape):
        image, y, x, channel = index
        expected = blurred_pixel(images[image], y, x, channel, sigma)
        assert abs(int(result[index]) - expected) <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ("severity", "share"), list(enumerate((0.75, 0.5, 0.4, 0.3, 0.15), start=1))
)
def test_contrast_draws_each_channel_to_its_mean(severity, share):
    images = draw(3)
    result = corrupt(images, Corruption(CorruptionKind.CONTRAST, severity), places(images))
    for image, changed in zip(images, result, strict=True):
        for channel in range(3):
            values = [int(value) for value in image[:, :, channel].ravel()]
            mean = sum(values) / len(values)
            expected = [mean + share * (value - mean) for value in values]
            np.testing.assert_allclose(changed[:, :, channel].ravel(), expected, atol=0.5 + 1e-9)


@pytest.mark.parametrize(
    ("severity", "deviation"), list(enumerate((0.04, 0.06, 0.08, 0.09, 0.10), start=1))
)
def test_noise_has_its_deviation_and_no_bias(severity, deviation):
    grey = np.full((40, 32, 32, 3), 128, np.uint8)
    result = corrupt(grey, Corruption(CorruptionKind.NOISE, severity), places(grey))
    change = result.astype(float) - 128
    error = 255 * deviation / math.sqrt(change.size)
    assert abs(change.mean()) < 4 * error
    assert change.std() == pytest.approx(255 * deviation, rel=0.01)
    assert len({image.tobytes() for image in result}) == 40


@pytest.mark.parametrize(("severity", "quality"), list(enumerate((80, 65, 58, 50, 40), start=1)))
def test_jpeg_is_what_a_file_of_that_quality_holds(severity, quality, tmp_path):
    images = draw(2, 32, 32)
    result = corrupt(images, Corruption(CorruptionKind.JPEG, severity), places(images))
    for image, changed in zip(images, result, strict=True):
        Image.fromarray(image).save(tmp_path / "image.jpg", quality=quality)
        expected = np.asarray(Image.open(BytesIO((tmp_path / "image.jpg").read_bytes())))
        np.testing.assert_array_equal(changed, expected)


def test_bytes_that_no_library_version_changes():
    # No sum here ends nearer than 0.07 to where it would be rounded the other way.
    image = (np.arange(4 * 4 * 3) * 5).astype(np.uint8).reshape(1, 4, 4, 3)
    found = {
        str(corruption): hashlib.sha256(corrupt(image, corruption, places(image))).hexdigest()[:12]
        for corruption in map(parse_corruption, ("contrast:1", "contrast:5", "blur:1", "blur:5"))
    }
    assert found == {
        "contrast:1": "a41f5065392d",
        "contrast:5": "2a00a5fe8696",
        "blur:1": "537d0bff850f",
        "blur:5": "17b2b759bb23",
    }


@pytest.mark.parametrize("corruption", all_corruptions(), ids=str)
def test_images_are_independent_and_a_higher_severity_changes_more(corruption):
    images = draw(7, 32, 32)
    before = images.copy()
    whole = corrupt(images, corruption, places(images))
    assert (whole.shape, whole.dtype) == (images.shape, np.uint8)
    np.testing.assert_array_equal(images, before)
    order = np.array([5, 0, 3])
    np.testing.assert_array_equal(corrupt(images[order], corruption, order), whole[order])
    change = np.abs(whole.astype(int) - images).mean()
    assert change > 0
    if corruption.severity > 1:
        milder = corrupt(
            images, Corruption(corruption.kind, corruption.severity - 1), places(images)
        )
        assert change > np.abs(milder.astype(int) - images).mean()


@pytest.mark.parametrize("batch_size", [1, 5, 40])
@pytest.mark.parametrize("num_workers", [1, 3])
def test_batches_and_threads_do_not_matter(batch_size, num_workers):
    images = draw(40, 8, 8)
    source = corrupted(ImageArrays(images, np.arange(40)), parse_corruption("noise:5"))
    batches = iterate_images(source, size_px=8, batch_size=batch_size, num_workers=num_workers)
    expected = corrupt(images, parse_corruption("noise:5"), places(images))
    np.testing.assert_array_equal(np.concatenate(list(batches)), expected)


def test_stored_images_are_corrupted_before_they_are_enlarged():
    images, blur = draw(2, 8, 8), parse_corruption("blur:5")
    source = corrupted(ImageArrays(images, np.zeros(2, np.int64)), blur)
    enlarged = ImageArrays(corrupt(images, blur, places(images)), source.labels_N).load_images(20)
    np.testing.assert_array_equal(source.load_images(20), enlarged)


def test_files_are_corrupted_at_the_size_asked_for(photos):
    folder, noise = load_train(photos, ("ant", "bee", "élan")), parse_corruption("noise:3")
    source = corrupted(folder, noise)
    assert len(source) == len(folder)
    np.testing.assert_array_equal(source.labels_N, folder.labels_N)
    some = np.array([20, 3])
    expected = corrupt(folder.take(some).load_images(16), noise, some)
    np.testing.assert_array_equal(source.take(some).load_images(16), expected)


def test_without_a_corruption_the_source_is_returned():
    arrays = ImageArrays(draw(2), np.zeros(2, np.int64))
    assert corrupted(arrays, None) is arrays


def test_a_corruption_is_parsed_from_its_name():
    names = [f"{kind}:{n}" for kind in ("noise", "blur", "jpeg", "contrast") for n in range(1, 6)]
    assert [str(corruption) for corruption in all_corruptions()] == names
    assert [parse_corruption(name) for name in names] == list(all_corruptions())


@pytest.mark.parametrize(
    "text",
    ["", "jpeg", "jpeg:", "jpeg:0", "jpeg:6", "jpeg:3:1", "jpeg: 3", "jpeg:٣", "fog:1", ":1"],
)
def test_another_name_is_refused_with_the_choices(text):
    with pytest.raises(UsageError, match="unknown corruption") as caught:
        parse_corruption(text)
    for choice in ("noise", "blur", "jpeg", "contrast", "1 to 5", "all"):
        assert choice in caught.value.hint
