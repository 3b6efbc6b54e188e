"""Classification metrics in numpy. Shape letters: N images, K classes."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959963984540054  # two-sided 95 % quantile of the standard normal distribution
NO_CLASS = -1


@dataclass(frozen=True)
class ClassMetrics:
    """One row of the per-class table.

    Attributes:
        name: The class.
        num_images: Images of this class.
        precision: Share of predictions of this class that are right, 0–1; 0 when there are none.
        recall: Share of images of this class that are found, 0–1; 0 when there are none.
        f1: Harmonic mean of the two.
    """

    name: str
    num_images: int
    precision: float
    recall: float
    f1: float


def wilson_interval(num_right: int, num_images: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a share, each end 0–1.

    Unlike the normal approximation it stays within 0–1 and holds near the ends.

    Source: Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".
    """
    if num_images == 0:
        return 0.0, 1.0
    share = num_right / num_images
    denominator = 1 + Z_95**2 / num_images
    centre = (share + Z_95**2 / (2 * num_images)) / denominator
    spread = share * (1 - share) / num_images + Z_95**2 / (4 * num_images**2)
    half = Z_95 / denominator * sqrt(spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def softmax(logits_NK: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return probabilities (N, K) in float64; a row of NaN where logits are NaN or +∞."""
    shifted = logits_NK.astype(np.float64)
    with np.errstate(invalid="ignore"):  # ∞ - ∞
        shifted -= shifted.max(axis=1, keepdims=True)
    exponentials: NDArray[np.float64] = np.exp(shifted)
    exponentials /= exponentials.sum(axis=1, keepdims=True)
    return exponentials


def in_top_k(
    probabilities_NK: NDArray[np.float64], labels_N: NDArray[np.int64], k: int
) -> NDArray[np.bool_]:
    """Tell for each image whether its class is among the k most probable.

    Among equals the class of the lower index comes first, as `argmax` has it. An answer that is
    not a number is not right.
    """
    own = np.take_along_axis(probabilities_NK, labels_N[:, None], axis=1)
    earlier = np.arange(probabilities_NK.shape[1])[None, :] < labels_N[:, None]
    ahead = (probabilities_NK > own) | ((probabilities_NK == own) & earlier)
    hits: NDArray[np.bool_] = (ahead.sum(axis=1) < k) & np.isfinite(own[:, 0])
    return hits


def predicted_classes(probabilities_NK: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the most probable class of each image, `NO_CLASS` where the answer is no number."""
    answered_N = np.isfinite(probabilities_NK).all(axis=1)
    return np.where(answered_N, probabilities_NK.argmax(axis=1), NO_CLASS)


def mean_negative_log_likelihood(
    probabilities_NK: NDArray[np.float64], labels_N: NDArray[np.int64]
) -> float:
    """Return the cross-entropy in nats, averaged over the images.

    A probability of 0 counts as the smallest normal float64, 2e-308 (scikit-learn: 2e-16).
    """
    own = np.take_along_axis(probabilities_NK, labels_N[:, None], axis=1)
    return float(-np.log(np.maximum(own, np.finfo(np.float64).tiny)).mean())


def confusion_matrix(
    labels_N: NDArray[np.int64], predictions_N: NDArray[np.int64], num_classes: int
) -> NDArray[np.int64]:
    """Count images by true class (rows) and predicted class (columns), shape (K, K).

    Images predicted as `NO_CLASS` are in no column.
    """
    answered_N = predictions_N != NO_CLASS
    pairs = labels_N[answered_N] * num_classes + predictions_N[answered_N]
    counts = np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
    return counts.astype(np.int64)


def class_metrics(
    confusion_KK: NDArray[np.int64], labels_N: NDArray[np.int64], classes: tuple[str, ...]
) -> tuple[ClassMetrics, ...]:
    """Return precision, recall and F1 of each class.

    Args:
        confusion_KK: Counts by true class, then predicted class.
        labels_N: True class of every image, those without an answer too.
        classes: Names in label order.
    """
    actual_K = np.bincount(labels_N, minlength=len(classes)).tolist()
    rows = []
    for index, name in enumerate(classes):
        hits = int(confusion_KK[index, index])
        actual, predicted = actual_K[index], int(confusion_KK[:, index].sum())
        rows.append(
            ClassMetrics(
                name=name,
                num_images=actual,
                precision=hits / predicted if predicted else 0.0,
                recall=hits / actual if actual else 0.0,
                f1=2 * hits / (actual + predicted) if actual + predicted else 0.0,
            )
        )
    return tuple(rows)
