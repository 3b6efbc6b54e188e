"""A set of labelled images. Shape letters: N images, H height, W width, C = 3 (RGB)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.image import resize_all

_CHUNK = 256  # images whose pixels are counted at once: counting widens them eightfold


class ImageSource(Protocol):
    """Labelled images, wherever their pixels are."""

    @property
    def labels_N(self) -> NDArray[np.int64]:  # noqa: N802 - a shape suffix
        """The class of each image, 0 … number of classes - 1, shape (N,)."""

    def __len__(self) -> int:
        """The number of images."""

    def take(self, indices: NDArray[np.int64]) -> Self:
        """Return the source of the images at `indices`, in that order; decodes nothing."""

    def squares(self, size_px: int) -> NDArray[np.uint8]:
        """Return all images as squares of that side, uint8 (N, `size_px`, `size_px`, 3).

        What an image becomes depends on nothing but the image and the size. Threads may call it.
        """


@dataclass(frozen=True)
class ImageArrays:
    """Images in memory and their labels.

    Attributes:
        images_NHWC: uint8, shape (N, H, W, 3).
        labels_N: int64, shape (N,), 0 … number of classes - 1.
    """

    images_NHWC: NDArray[np.uint8]
    labels_N: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels_N)

    def take(self, indices: NDArray[np.int64]) -> "ImageArrays":
        """Return the images at `indices`, in that order."""
        return ImageArrays(self.images_NHWC[indices], self.labels_N[indices])

    def squares(self, size_px: int) -> NDArray[np.uint8]:
        """Return the images, resized; the array itself where the size is right already."""
        return resize_all(self.images_NHWC, size_px)

    def channel_statistics(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation of each channel, on the scale 0–255, shape (3,)."""
        starts = range(0, len(self), _CHUNK)
        return channel_statistics(self.images_NHWC[start : start + _CHUNK] for start in starts)


def channel_statistics(
    batches: Iterable[NDArray[np.uint8]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of each channel over all images of all batches.

    Exact: computed from the histogram of the 256 levels.

    Args:
        batches: uint8, each of shape (B, H, W, 3).

    Returns:
        Mean and standard deviation on the scale 0–255, shape (3,).
    """
    levels = np.arange(256, dtype=np.float64)
    counts = np.zeros((3, 256), np.int64)
    for images_BHWC in batches:
        for channel in range(3):
            counts[channel] += np.bincount(images_BHWC[..., channel].ravel(), minlength=256)
    total = counts.sum(axis=1)
    mean = counts @ levels / total
    variance = np.maximum(counts @ levels**2 / total - mean**2, 0.0)
    return mean, np.sqrt(variance)
