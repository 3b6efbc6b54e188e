"""Corrupted test images, to measure how robust a model is.

For evaluation alone: a model trained on these has not met something new. Four of the nineteen kinds
of CIFAR-10-C, computed here, so that nothing needs to be downloaded and any dataset will do.

Source: Hendrycks & Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions
and Perturbations"; kinds, formulas and strengths are those of the authors'
`hendrycks/robustness`, ImageNet-C/create_c/make_cifar_c.py. The strengths were chosen for images of
32 px; on larger ones the same blur and the same JPEG quality do less harm.

Authors: the random state continues from image to image. Here: the noise is a function of the
image's place in its dataset, so that the size and order of batches do not matter. All severities
have the same noise, only stronger.
Authors: results are cut off to integers. Here: rounded, because cutting off also darkens
every image by half a level.

Shape letters: N images, H height, W width, 3 = RGB.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from io import BytesIO
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet_cli.data.arrays import ImageArrays, ImageSource
from alexnet_cli.data.content import Hashes
from alexnet_cli.errors import UsageError, did_you_mean
from alexnet_cli.image import resize_all


class CorruptionKind(StrEnum):
    NOISE = "noise"
    BLUR = "blur"
    JPEG = "jpeg"
    CONTRAST = "contrast"


_STRENGTHS = {
    CorruptionKind.NOISE: (0.04, 0.06, 0.08, 0.09, 0.10),  # gaussian_noise: deviation, of 0–1
    CorruptionKind.BLUR: (0.4, 0.6, 0.7, 0.8, 1.0),  # gaussian_blur: deviation in pixels
    CorruptionKind.JPEG: (80, 65, 58, 50, 40),  # jpeg_compression: quality
    CorruptionKind.CONTRAST: (0.75, 0.5, 0.4, 0.3, 0.15),  # contrast: fraction that is left
}
NUM_SEVERITIES = 5
_BLUR_REACH = 4  # deviations at which scikit-image, and so the authors, cut the kernel off
_NOISE_STREAM = 0xC0221  # keeps this draw apart from others


@dataclass(frozen=True)
class Corruption:
    kind: CorruptionKind
    severity: int  # 1 (mild) to `NUM_SEVERITIES`

    def __str__(self) -> str:
        return f"{self.kind}:{self.severity}"

    @property
    def strength(self) -> float:
        return _STRENGTHS[self.kind][self.severity - 1]


def parse_corruption(text: str) -> Corruption:
    """Parse `KIND:SEVERITY`.

    Raises:
        UsageError: There is no such kind or severity.
    """
    kind, _, severity = text.partition(":")
    allowed = [str(number) for number in range(1, NUM_SEVERITIES + 1)]
    if kind not in tuple(CorruptionKind) or severity not in allowed:
        raise UsageError(
            f"unknown corruption {text!r}",
            hint=did_you_mean(
                kind,
                CorruptionKind,
                hint=f"use {', '.join(CorruptionKind)} with a severity of 1 to {NUM_SEVERITIES}, "
                "as in --corrupt jpeg:3, or --corrupt all",
            ),
            code="unknown_corruption",
        )
    return Corruption(CorruptionKind(kind), int(severity))


def all_corruptions() -> tuple[Corruption, ...]:
    """Return each kind at each severity, by kind, then from mild to strong."""
    severities = range(1, NUM_SEVERITIES + 1)
    return tuple(Corruption(kind, number) for kind in CorruptionKind for number in severities)


def corrupt(
    images_NHWC: NDArray[np.uint8], corruption: Corruption, places_N: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Corrupt images, each independently of the others.

    The same arguments give the same bytes on one machine and with the same libraries: NumPy does
    not promise its random streams across versions, nor Pillow its JPEG encoder.

    `places_N` is the place of each image in its dataset, which seeds the noise.

    Returns:
        uint8, shape (N, H, W, 3).
    """
    strength = corruption.strength
    match corruption.kind:
        case CorruptionKind.NOISE:
            return _add_noise(images_NHWC, strength, places_N)
        case CorruptionKind.BLUR:
            return _blur(images_NHWC, strength)
        case CorruptionKind.JPEG:
            return _compress(images_NHWC, int(strength))
        case CorruptionKind.CONTRAST:
            return _reduce_contrast(images_NHWC, strength)


def _add_noise(
    images_NHWC: NDArray[np.uint8], deviation: float, places_N: NDArray[np.int64]
) -> NDArray[np.uint8]:
    noise_NHWC = np.empty(images_NHWC.shape, np.float32)
    for index, place in enumerate(places_N):
        generator = np.random.default_rng([_NOISE_STREAM, int(place)])
        generator.standard_normal(dtype=np.float32, out=noise_NHWC[index])
    return _to_bytes(images_NHWC + np.float32(255 * deviation) * noise_NHWC)


def _blur(images_NHWC: NDArray[np.uint8], sigma_px: float) -> NDArray[np.uint8]:
    """Convolve with a Gaussian, along columns, then along rows; the edge is repeated outside."""
    radius = int(_BLUR_REACH * sigma_px + 0.5)
    offsets = range(-radius, radius + 1)
    weights = [math.exp(-0.5 * (offset / sigma_px) ** 2) for offset in offsets]
    total = sum(weights)
    blurred_NHWC = images_NHWC.astype(np.float64)
    for axis in (1, 2):
        around = [(radius, radius) if axis == each else (0, 0) for each in range(4)]
        padded = np.pad(blurred_NHWC, around, mode="edge")
        blurred_NHWC = np.zeros_like(blurred_NHWC)
        for start, weight in enumerate(weights):
            taken = (slice(None),) * axis + (slice(start, start + images_NHWC.shape[axis]),)
            blurred_NHWC += (weight / total) * padded[taken]
    return _to_bytes(blurred_NHWC)


def _compress(images_NHWC: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Write each image as a JPEG file and read it again; colours at half the resolution."""
    compressed_NHWC = np.empty_like(images_NHWC)
    for index, image_HWC in enumerate(images_NHWC):
        file = BytesIO()
        Image.fromarray(image_HWC).save(file, "JPEG", quality=quality)
        with Image.open(file, formats=("JPEG",)) as image:
            compressed_NHWC[index] = np.asarray(image)
    return compressed_NHWC


def _reduce_contrast(images_NHWC: NDArray[np.uint8], fraction: float) -> NDArray[np.uint8]:
    """Move each channel of an image towards its mean."""
    num_pixels = images_NHWC.shape[1] * images_NHWC.shape[2]
    means_N11C = images_NHWC.sum(axis=(1, 2), dtype=np.int64, keepdims=True) / num_pixels
    return _to_bytes((images_NHWC - means_N11C) * fraction + means_N11C)


def _to_bytes(levels: NDArray[np.float32] | NDArray[np.float64]) -> NDArray[np.uint8]:
    rounded: NDArray[np.uint8] = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return rounded


@dataclass(frozen=True)
class CorruptedImages:
    """A source of images that are corrupted as they are loaded.

    Images in memory are corrupted as they are stored, and resized afterwards; files, which may be
    of any size, after they were resized.
    """

    source: ImageSource
    corruption: Corruption
    places_N: NDArray[np.int64]  # in the dataset

    @property
    def labels_N(self) -> NDArray[np.int64]:  # noqa: N802 - a shape suffix
        return self.source.labels_N

    def __len__(self) -> int:
        return len(self.source)

    def take(self, indices: NDArray[np.int64]) -> Self:
        return replace(self, source=self.source.take(indices), places_N=self.places_N[indices])

    def hashes(self) -> Hashes:
        return self.source.hashes()  # before they are corrupted

    def hashed(self) -> Self:
        return replace(self, source=self.source.hashed())

    def load_images(self, size_px: int) -> NDArray[np.uint8]:
        if isinstance(self.source, ImageArrays):
            images = corrupt(self.source.images_NHWC, self.corruption, self.places_N)
            return resize_all(images, size_px)
        return corrupt(self.source.load_images(size_px), self.corruption, self.places_N)


def corrupted(source: ImageSource, corruption: Corruption | None) -> ImageSource:
    if corruption is None:
        return source
    return CorruptedImages(source, corruption, np.arange(len(source), dtype=np.int64))
