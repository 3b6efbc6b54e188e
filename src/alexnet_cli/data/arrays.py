"""A set of labelled images in memory. Shape letters: N images, H height, W width, C = 3 (RGB)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ImageArrays:
    """Images and their labels.

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

    def channel_statistics(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation of each channel, on the scale 0–255, shape (3,).

        Exact: computed from the histogram of the 256 levels.
        """
        levels = np.arange(256, dtype=np.float64)
        counts = np.stack(
            [np.bincount(self.images_NHWC[..., c].ravel(), minlength=256) for c in range(3)]
        )
        total = counts.sum(axis=1)
        mean = counts @ levels / total
        variance = counts @ levels**2 / total - mean**2
        return mean, np.sqrt(variance)
