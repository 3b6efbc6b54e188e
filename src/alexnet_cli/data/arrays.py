"""Labelled images: in memory, or in files that threads decode ahead of their use; their colours.

Threads rather than processes: Pillow decodes and resizes without holding the interpreter lock,
and threads neither die unnoticed nor copy what they made.

Shape letters: N images, B batch, H height, W width, S side, C = 3 (RGB).
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.data.content import Hashes, hash_pixels
from alexnet_cli.devices import num_cores
from alexnet_cli.image import resize_all

Indices = NDArray[np.int64]
Buffer = TypeVar("Buffer")

RESIDENT_BYTES = 2 << 30  # a set whose resized images take no more is kept in memory
BATCHES_IN_FLIGHT = 3  # being filled or waiting to be used: what bounds the memory
STATISTICS_SAMPLE = 10_000  # images of a larger set
_SUMMED_AT_ONCE = 256  # images: as float64 they take eight times the memory
_FILLED_AT_ONCE = 16  # images, by a thread
_DECODED_AT_ONCE = 64
_SAMPLE_STREAM = 0x5A3B1E  # keeps this draw apart from others made from the same seed
_UPPER = np.triu_indices(3)


class ImageSource(Protocol):
    """Labelled images, in memory or in files."""

    @property
    def labels_N(self) -> NDArray[np.int64]:  # noqa: N802 - a shape suffix
        """The class of each image, 0 … number of classes - 1."""

    def __len__(self) -> int: ...

    def take(self, indices: NDArray[np.int64]) -> Self:
        """Return the source of the images at `indices`, in that order; decodes nothing."""

    def hashes(self) -> Hashes:
        """Return the hash of each image's content, uint64 (N,), see `data/content.py`."""

    def hashed(self) -> Self:
        """Return the same source with its hashes computed, which `take` then keeps."""

    def load_images(self, size_px: int) -> NDArray[np.uint8]:
        """Return all images as squares of that side, uint8 (N, `size_px`, `size_px`, 3).

        The result depends on nothing but the images and the size. Threads may call it.
        """


@dataclass(frozen=True)
class ImageArrays:
    images_NHWC: NDArray[np.uint8]
    labels_N: NDArray[np.int64]  # 0 … number of classes - 1
    colour_sums_N9: NDArray[np.uint32] | None = None  # `colour_sums` of the images, if known
    hashes_N: Hashes | None = None  # of the pixels, if known

    def __len__(self) -> int:
        return len(self.labels_N)

    def take(self, indices: NDArray[np.int64]) -> Self:
        sums_N9 = None if self.colour_sums_N9 is None else self.colour_sums_N9[indices]
        hashes_N = None if self.hashes_N is None else self.hashes_N[indices]
        return type(self)(self.images_NHWC[indices], self.labels_N[indices], sums_N9, hashes_N)

    def hashes(self) -> Hashes:
        return hash_pixels(self.images_NHWC) if self.hashes_N is None else self.hashes_N

    def hashed(self) -> Self:
        return replace(self, hashes_N=self.hashes())

    def load_images(self, size_px: int) -> NDArray[np.uint8]:
        """Return the images, resized; the array itself if the size is right already."""
        return resize_all(self.images_NHWC, size_px)

    def colour_statistics(self) -> "ColourStatistics":
        if self.colour_sums_N9 is not None:
            return _statistics_of_sums(self.colour_sums_N9, self.images_NHWC[..., 0].size)
        starts = range(0, len(self), _SUMMED_AT_ONCE)
        return colour_statistics(
            self.images_NHWC[start : start + _SUMMED_AT_ONCE] for start in starts
        )


@dataclass(frozen=True)
class ColourStatistics:
    """Mean and covariance of the colours of a set of pixels, on the scale 0–255."""

    mean_C: NDArray[np.float64]
    covariance_CC: NDArray[np.float64]

    @property
    def std_C(self) -> NDArray[np.float64]:  # noqa: N802 - a shape suffix
        std: NDArray[np.float64] = np.sqrt(np.maximum(self.covariance_CC.diagonal(), 0.0))
        return std

    def noise_axes(self, scale: float) -> tuple[tuple[float, ...], ...]:
        """Return the principal components as rows, each `scale` times its standard deviation."""
        rows = scale * self.principal_axes().T
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

    The sums are exact: integers below 2^53, so their order does not matter.
    """
    count, total_C, products_CC = 0, np.zeros(3), np.zeros((3, 3))
    for images_BHWC in batches:
        pixels_MC = images_BHWC.reshape(-1, 3).astype(np.float64)
        count += len(pixels_MC)
        total_C += pixels_MC.sum(axis=0)
        products_CC += pixels_MC.T @ pixels_MC
    return _statistics(total_C, products_CC, count)


def colour_sums(images_NHWC: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Return each image's sums of the channels and of their products.

    Added up over any set of images they give its mean and covariance.

    The images have at most 2^16 pixels each: uint32 is enough.

    Returns:
        Sums over the pixels of R, G, B, RR, RG, RB, GG, GB, BB; exact, uint32, shape (N, 9).
    """
    sums_N9 = np.empty((len(images_NHWC), 9), np.uint32)
    for start in range(0, len(images_NHWC), _SUMMED_AT_ONCE):
        images_BHWC = images_NHWC[start : start + _SUMMED_AT_ONCE]
        pixels_BMC = images_BHWC.reshape(len(images_BHWC), -1, 3)
        pixels_CBM = pixels_BMC.transpose(2, 0, 1).astype(np.float64)
        products = (
            np.einsum("bm,bm->b", *pixels_CBM[[i, j]]) for i, j in zip(*_UPPER, strict=True)
        )
        sums_N9[start : start + _SUMMED_AT_ONCE] = np.stack(
            [*pixels_CBM.sum(axis=2), *products], axis=1
        )
    return sums_N9


def _statistics_of_sums(sums_N9: NDArray[np.uint32], num_pixels: int) -> ColourStatistics:
    total_9 = sums_N9.sum(axis=0, dtype=np.int64).astype(np.float64)
    products_CC = np.zeros((3, 3))
    products_CC[_UPPER] = total_9[3:]
    return _statistics(total_9[:3], np.triu(products_CC) + np.triu(products_CC, 1).T, num_pixels)


def _statistics(
    total_C: NDArray[np.float64], products_CC: NDArray[np.float64], num_pixels: int
) -> ColourStatistics:
    mean_C = total_C / num_pixels
    return ColourStatistics(mean_C, products_CC / num_pixels - np.outer(mean_C, mean_C))


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
        num_workers: Threads; 0 = one per core.

    Yields:
        The filled buffers, in order. An error of `fill` is raised at its batch. The threads end
        with the iterator, also if it is closed early.
    """
    pool = ThreadPoolExecutor(num_workers or num_cores(), thread_name_prefix="images")
    waiting: deque[tuple[Buffer, list[Future[None]]]] = deque()
    try:
        for indices_B in batches:
            buffer = allocate(len(indices_B))
            starts = range(0, len(indices_B), _FILLED_AT_ONCE)
            fills = [
                pool.submit(fill, buffer, i, indices_B[i : i + _FILLED_AT_ONCE]) for i in starts
            ]
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
