"""Which classes are taken for which others. Shape letters: K classes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_CLASSES = 30  # in a table; of more classes, the pairs most often confused are shown
NUM_SHADES = 11
_MOST_PAIRS = 40


@dataclass(frozen=True)
class Confusion:
    """Counts by true class (rows) and predicted class (columns), int64, shape (K, K)."""

    classes: tuple[str, ...]
    counts_KK: NDArray[np.int64]

    @property
    def share_right(self) -> float:
        """Share of all images that are right, 0–1."""
        return float(self.counts_KK.trace() / max(1, self.counts_KK.sum()))


@dataclass(frozen=True)
class Pair:
    """Images of one class that were taken for another."""

    true: int
    predicted: int
    count: int
    share: float


def shades(confusion: Confusion) -> NDArray[np.int64]:
    """Return how dark each cell is, 0–10: the square root of its share of its row.

    The root, because mistakes are few beside what is right, and would all look white.
    """
    counts = confusion.counts_KK
    share_KK = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shades_KK: NDArray[np.int64] = np.ceil(np.sqrt(share_KK) * (NUM_SHADES - 1)).astype(np.int64)
    return shades_KK


def confused_pairs(confusion: Confusion) -> list[Pair]:
    """Return the pairs most often confused, at most 40, the most frequent first."""
    counts = confusion.counts_KK
    wrong_KK = counts.copy()
    np.fill_diagonal(wrong_KK, 0)
    order = np.argsort(-wrong_KK, axis=None, kind="stable")[:_MOST_PAIRS]
    totals = np.maximum(counts.sum(axis=1), 1)
    return [
        Pair(int(true), int(predicted), int(count), float(count / totals[true]))
        for true, predicted in zip(*np.unravel_index(order, counts.shape), strict=True)
        if (count := wrong_KK[true, predicted])
    ]
