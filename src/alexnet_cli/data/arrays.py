"""A set of labelled images. Shape letters: N images, H height, W width, C = 3 (RGB)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.image import resize_all

_CHUNK = 256  # images whose pixels are summed at once: as float64 they take eight times the memory


class ImageSource(Protocol):
    """Labelled images, wherever their pixels are."""

    @property
    def labels_N(self) -> NDArray[np.int64]:  # noqa: N802 - a shape suffix
        """The class of each image, 0 … number of classes - 1, shape (N,)."""

    def __len__(self) -> int:
        """The number of images."""

    def take(self, indices: NDArray[np.int64]) -> Self:
        """Return the source of the images at `indices`, in that order; decodes nothing."""

    def identity(self) -> bytes:
        """Return what tells these images from others, as far as that is known without decoding."""

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

    def take(self, indices: NDArray[np.int64]) -> Self:
        """Return the images at `indices`, in that order."""
        return type(self)(self.images_NHWC[indices], self.labels_N[indices])

    def identity(self) -> bytes:
        """Return the labels: the pixels come from an archive whose hash was checked."""
        return self.labels_N.tobytes()

    def squares(self, size_px: int) -> NDArray[np.uint8]:
        """Return the images, resized; the array itself where the size is right already."""
        return resize_all(self.images_NHWC, size_px)

    def colour_statistics(self) -> "ColourStatistics":
        """Return mean and covariance of the colours of all pixels."""
        starts = range(0, len(self), _CHUNK)
        return colour_statistics(self.images_NHWC[start : start + _CHUNK] for start in starts)


@dataclass(frozen=True)
class ColourStatistics:
    """How the colours of a set of pixels are spread, on the scale 0–255.

    Attributes:
        mean_C: Mean of each channel, float64, shape (3,).
        covariance_CC: Covariance of the channels, float64, shape (3, 3).
    """

    mean_C: NDArray[np.float64]
    covariance_CC: NDArray[np.float64]

    @property
    def std_C(self) -> NDArray[np.float64]:  # noqa: N802 - a shape suffix
        """Standard deviation of each channel, shape (3,)."""
        std: NDArray[np.float64] = np.sqrt(np.maximum(self.covariance_CC.diagonal(), 0.0))
        return std

    def noise_axes(self, share: float) -> tuple[tuple[float, ...], ...]:
        """Return the principal components as rows, each as long as a share of its deviation."""
        rows = share * self.principal_axes().T
        return tuple(tuple(row) for row in rows.tolist())

    def principal_axes(self) -> NDArray[np.float64]:
        """Return the principal components, each as long as its standard deviation.

        Columns of a (3, 3) matrix, the longest last; the largest number of each is positive, so
        that all machines draw the same along them.
        """
        variances, directions = np.linalg.eigh(self.covariance_CC)
        largest = np.abs(directions).argmax(axis=0)
        directions = directions * np.sign(directions[largest, np.arange(3)])
        axes: NDArray[np.float64] = directions * np.sqrt(np.maximum(variances, 0.0))
        return axes


def colour_statistics(batches: Iterable[NDArray[np.uint8]]) -> ColourStatistics:
    """Return mean and covariance of the colours of all pixels of all batches.

    The sums are exact: whole numbers below 2^53, so their order does not matter.

    Args:
        batches: uint8, each of shape (B, H, W, 3).
    """
    count, total_C, products_CC = 0, np.zeros(3), np.zeros((3, 3))
    for images_BHWC in batches:
        pixels_MC = images_BHWC.reshape(-1, 3).astype(np.float64)
        count += len(pixels_MC)
        total_C += pixels_MC.sum(axis=0)
        products_CC += pixels_MC.T @ pixels_MC
    mean_C = total_C / count
    return ColourStatistics(mean_C, products_CC / count - np.outer(mean_C, mean_C))
