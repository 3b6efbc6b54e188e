"""A set of labelled images, its colour statistics, and its train/validation split.

Shape letters: N images, H height, W width, C = 3 (RGB).
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.errors import UsageError
from alexnet_cli.image import resize_all

_UPPER = np.triu_indices(3)
_DEFAULT_SHARE, _MAX_BY_DEFAULT = 0.1, 5_000  # of the training images, held out
_SPLIT_STREAM = 0x5B117  # keeps this draw apart from others made from the same seed
_CHUNK = 256  # images whose pixels are summed at once: as float64 they take eight times the memory


class ImageSource(Protocol):
    """Labelled images, in memory or in files."""

    @property
    def labels_N(self) -> NDArray[np.int64]:  # noqa: N802 - a shape suffix
        """The class of each image, 0 … number of classes - 1."""

    def __len__(self) -> int: ...

    def take(self, indices: NDArray[np.int64]) -> Self:
        """Return the source of the images at `indices`, in that order; decodes nothing."""

    def identity(self) -> bytes:
        """Return bytes that differ for other images, as far as that is known without decoding."""

    def load_images(self, size_px: int) -> NDArray[np.uint8]:
        """Return all images as squares of that side, uint8 (N, `size_px`, `size_px`, 3).

        The result depends on nothing but the images and the size. Threads may call it.
        """


@dataclass(frozen=True)
class ImageArrays:
    """Images in memory and their labels."""

    images_NHWC: NDArray[np.uint8]
    labels_N: NDArray[np.int64]  # 0 … number of classes - 1
    colour_sums_N9: NDArray[np.uint32] | None = None  # `colour_sums` of the images, if known

    def __len__(self) -> int:
        return len(self.labels_N)

    def take(self, indices: NDArray[np.int64]) -> Self:
        sums_N9 = None if self.colour_sums_N9 is None else self.colour_sums_N9[indices]
        return type(self)(self.images_NHWC[indices], self.labels_N[indices], sums_N9)

    def identity(self) -> bytes:
        return self.labels_N.tobytes()  # the pixels come from an archive whose hash was checked

    def load_images(self, size_px: int) -> NDArray[np.uint8]:
        """Return the images, resized; the array itself if the size is right already."""
        return resize_all(self.images_NHWC, size_px)

    def colour_statistics(self) -> "ColourStatistics":
        if self.colour_sums_N9 is not None:
            return _statistics_of_sums(self.colour_sums_N9, self.images_NHWC[..., 0].size)
        starts = range(0, len(self), _CHUNK)
        return colour_statistics(self.images_NHWC[start : start + _CHUNK] for start in starts)


@dataclass(frozen=True)
class ColourStatistics:
    """Mean and covariance of the colours of a set of pixels, on the scale 0–255."""

    mean_C: NDArray[np.float64]
    covariance_CC: NDArray[np.float64]

    @property
    def std_C(self) -> NDArray[np.float64]:  # noqa: N802 - a shape suffix
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
    return _statistics(total_C, products_CC, count)


def colour_sums(images_NHWC: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Return each image's sums of the channels and of their products.

    Added up over any set of images they give its mean and covariance.

    Args:
        images_NHWC: uint8, shape (N, H, W, 3), of at most 2^16 pixels each: uint32 is enough.

    Returns:
        Sums over the pixels of R, G, B, RR, RG, RB, GG, GB, BB; exact, uint32, shape (N, 9).
    """
    sums_N9 = np.empty((len(images_NHWC), 9), np.uint32)
    for start in range(0, len(images_NHWC), _CHUNK):
        images_BHWC = images_NHWC[start : start + _CHUNK]
        pixels_BMC = images_BHWC.reshape(len(images_BHWC), -1, 3)
        pixels_CBM = pixels_BMC.transpose(2, 0, 1).astype(np.float64)
        products = (
            np.einsum("bm,bm->b", *pixels_CBM[[i, j]]) for i, j in zip(*_UPPER, strict=True)
        )
        sums_N9[start : start + _CHUNK] = np.stack([*pixels_CBM.sum(axis=2), *products], axis=1)
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


def num_held_out(labels_N: NDArray[np.int64], val_size: float | None) -> int:
    """Return how many of the training images are held out for validation.

    Args:
        labels_N: Labels of the entire training set.
        val_size: A number of images; a share below 1; None for a tenth, at most 5,000. A share
            and the default hold out and keep at least one image of each class that has two.

    Raises:
        UsageError: Nothing would be left to train on, or to validate on.
    """
    total = len(labels_N)
    if val_size is None or 0 < val_size < 1:
        spare = np.maximum(np.bincount(labels_N) - 1, 0)
        if not spare.any():
            raise UsageError(
                f"none of the {total} training images can be held out: no class has two",
                hint="add images, or put validation images of your own into val/CLASS/",
            )
        wanted = round(total * (val_size or _DEFAULT_SHARE))
        if val_size is None:
            wanted = min(wanted, _MAX_BY_DEFAULT)
        return int(np.clip(wanted, np.count_nonzero(spare), spare.sum()))
    if not 0 < val_size < total:
        raise UsageError(
            f"cannot hold out {val_size} of {total} training images",
            hint=f"choose --val-size between 1 and {total - 1}, a share such as 0.1, or leave it "
            "out",
        )
    return int(val_size)


def stratified_split(
    labels_N: NDArray[np.int64], *, val_size: float | None, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw a validation set with each class in proportion.

    Args:
        labels_N: Labels of the entire training set.
        val_size: Number or share of the images to hold out, see `num_held_out`.
        seed: Fixes the draw.

    Returns:
        Indices of the training and of the validation images, each sorted; disjoint, together
        all N.

    Raises:
        UsageError: Nothing would be left to train on, or to validate on.
    """
    wanted = num_held_out(labels_N, val_size)
    counts = np.bincount(labels_N)
    least, most = np.zeros_like(counts), counts
    if val_size is None or val_size < 1:
        least, most = (counts > 1).astype(np.int64), np.maximum(counts - 1, 0)
    # Largest remainders: the quotas add up exactly.
    exact = counts * (wanted / len(labels_N))
    quota = np.clip(np.floor(exact).astype(np.int64), least, most)
    while quota.sum() < wanted:
        quota[np.argmax(np.where(quota < most, exact - quota, -np.inf))] += 1
    while quota.sum() > wanted:
        quota[np.argmin(np.where(quota > least, exact - quota, np.inf))] -= 1
    generator = np.random.default_rng([seed, _SPLIT_STREAM])
    held_out = np.zeros(len(labels_N), bool)
    for label, count in enumerate(quota):
        members = np.flatnonzero(labels_N == label)
        held_out[generator.permutation(members)[:count]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def split_fingerprint(train: ImageSource, val: ImageSource) -> str:
    """Name a split; splits with other images have another name (see `ImageSource.identity`)."""
    digest = hashlib.sha256()
    for part in (train, val):
        digest.update(hashlib.sha256(part.identity()).digest())
    return f"{len(train):,} to train on, {len(val):,} held out ({digest.hexdigest()[:12]})"
