"""Images decoded by threads ahead of their use, and sets small enough to stay in memory.

Threads rather than processes: Pillow decodes and resizes without holding the interpreter lock,
and threads neither die unnoticed nor copy what they made. Shape letters: N images, B batch, S side.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.data.arrays import ColourStatistics, ImageArrays, ImageSource, colour_statistics
from alexnet_cli.devices import num_cores

Indices = NDArray[np.int64]
Buffer = TypeVar("Buffer")

BATCHES_IN_FLIGHT = 3  # being filled or waiting to be used: what bounds the memory
_CHUNK = 16  # images one thread fills at a time


def prefetched(
    batches: Iterable[Indices],
    *,
    allocate: Callable[[int], Buffer],
    fill: Callable[[Buffer, int, Indices], None],
    num_workers: int,
) -> Generator[Buffer, None, None]:
    """Fill a buffer for each batch in threads, a few batches ahead.

    Args:
        batches: Indices of the images of each batch, int64 (B,).
        allocate: Returns an empty buffer for that many images.
        fill: Called in threads with a buffer, a place in it, and the images to put there and
            after it.
        num_workers: Threads; 0: one per core.

    Yields:
        The filled buffers, in order. An error of `fill` is raised at its batch. The threads end
        with the iterator, also if it is closed early.
    """
    pool = ThreadPoolExecutor(num_workers or num_cores(), thread_name_prefix="images")
    waiting: deque[tuple[Buffer, list[Future[None]]]] = deque()
    try:
        for indices_B in batches:
            buffer = allocate(len(indices_B))
            starts = range(0, len(indices_B), _CHUNK)
            fills = [pool.submit(fill, buffer, i, indices_B[i : i + _CHUNK]) for i in starts]
            waiting.append((buffer, fills))
            if len(waiting) == BATCHES_IN_FLIGHT:
                yield _finished(*waiting.popleft())
        while waiting:
            yield _finished(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(buffer: Buffer, fills: list[Future[None]]) -> Buffer:
    for each in fills:
        each.result()
    return buffer


def iterate_images(
    source: ImageSource, *, size_px: int, batch_size: int, num_workers: int = 0
) -> Generator[NDArray[np.uint8], None, None]:
    """Yield all images in their order, in batches of uint8 (B, `size_px`, `size_px`, 3)."""
    starts = range(0, len(source), batch_size)
    if isinstance(source, ImageArrays) and source.images_NHWC.shape[1:3] == (size_px, size_px):
        yield from (source.images_NHWC[i : i + batch_size] for i in starts)  # nothing to make
        return

    def fill(squares: NDArray[np.uint8], start: int, indices: Indices) -> None:
        squares[start : start + len(indices)] = source.take(indices).load_images(size_px)

    yield from prefetched(
        (np.arange(i, min(i + batch_size, len(source))) for i in starts),
        allocate=lambda count: np.empty((count, size_px, size_px, 3), np.uint8),
        fill=fill,
        num_workers=num_workers,
    )


RESIDENT_BYTES = 2 << 30  # a set whose resized images take no more is kept in memory
STATISTICS_SAMPLE = 10_000
_DECODED_AT_ONCE = 64
_SAMPLE_STREAM = 0x5A3B1E  # keeps this draw apart from others made from the same seed


def fits_in_memory(num_images: int, size_px: int) -> bool:
    return num_images * 3 * size_px**2 <= RESIDENT_BYTES


def load_if_fits(source: ImageSource, *, size_px: int, num_workers: int) -> ImageSource:
    """Decode and resize the files of a source that fits in memory; return any other as it is."""
    if isinstance(source, ImageArrays) or not fits_in_memory(len(source), size_px):
        return source
    squares_NSSC = np.empty((len(source), size_px, size_px, 3), np.uint8)
    batches = iterate_images(
        source, size_px=size_px, batch_size=_DECODED_AT_ONCE, num_workers=num_workers
    )
    for number, squares in enumerate(batches):
        squares_NSSC[number * _DECODED_AT_ONCE :][: len(squares)] = squares
    return ImageArrays(squares_NSSC, source.labels_N)


def training_statistics(
    source: ImageSource, *, size_px: int, seed: int, num_workers: int
) -> ColourStatistics:
    """Return mean and covariance of the colours of the training set.

    Exact for images in memory. Of a larger set only a sample of `STATISTICS_SAMPLE` images, fixed
    by the seed, is decoded and resized; its error is far below what the network notices.
    """
    if isinstance(source, ImageArrays):
        return source.colour_statistics()
    generator = np.random.default_rng([seed, _SAMPLE_STREAM])
    count = min(STATISTICS_SAMPLE, len(source))
    sample = np.sort(generator.choice(len(source), count, replace=False))
    return colour_statistics(
        iterate_images(
            source.take(sample),
            size_px=size_px,
            batch_size=_DECODED_AT_ONCE,
            num_workers=num_workers,
        )
    )
