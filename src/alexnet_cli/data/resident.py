"""What is kept in memory, and what is not."""

import numpy as np

from alexnet_cli.data.arrays import (
    ColourStatistics,
    ImageArrays,
    ImageSource,
    colour_statistics,
)
from alexnet_cli.data.prefetch import squares_in_order

RESIDENT_BYTES = 2 << 30  # a set whose resized images take no more is kept in memory
STATISTICS_SAMPLE = 10_000
_CHUNK = 64  # images decoded at once


def fits_in_memory(num_images: int, size_px: int) -> bool:
    """Tell whether so many squares of that side take at most `RESIDENT_BYTES`."""
    return num_images * 3 * size_px**2 <= RESIDENT_BYTES


def read_if_small(source: ImageSource, *, size_px: int, num_workers: int) -> ImageSource:
    """Read a source that fits in memory once and for all; return any other as it is.

    Args:
        source: The images; what is in memory stays as it is, not resized.
        size_px: Side to resize them to.
        num_workers: Threads; 0: as many as cores.
    """
    if isinstance(source, ImageArrays) or not fits_in_memory(len(source), size_px):
        return source
    squares_NSSC = np.empty((len(source), size_px, size_px, 3), np.uint8)
    batches = squares_in_order(source, size_px=size_px, batch_size=_CHUNK, num_workers=num_workers)
    for number, squares in enumerate(batches):
        squares_NSSC[number * _CHUNK :][: len(squares)] = squares
    return ImageArrays(squares_NSSC, source.labels_N)


def training_statistics(
    source: ImageSource, *, size_px: int, seed: int, num_workers: int
) -> ColourStatistics:
    """Return mean and covariance of the colours of the training set.

    Exact for images in memory. Of a larger set only a seeded sample of `STATISTICS_SAMPLE` images
    is decoded, after resizing; its error is far below what the network notices.

    Args:
        source: The training images.
        size_px: Side they are resized to.
        seed: Fixes the sample.
        num_workers: Threads; 0: as many as cores.
    """
    if isinstance(source, ImageArrays):
        return source.colour_statistics()
    generator = np.random.default_rng([seed, _SAMPLE_STREAM])
    count = min(STATISTICS_SAMPLE, len(source))
    sample = np.sort(generator.choice(len(source), count, replace=False))
    return colour_statistics(
        squares_in_order(
            source.take(sample), size_px=size_px, batch_size=_CHUNK, num_workers=num_workers
        )
    )


_SAMPLE_STREAM = 0x5A3B1E  # keeps this draw apart from others made from the same seed
