"""Metrics in numpy: accuracy, classes, calibration, and McNemar's comparison of two models.

A new metric is a function here, a field of `Evaluation` and a line in `summarise`.

Shape letters: N images, K classes.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959963984540054  # two-sided 95 % quantile of the standard normal distribution
NO_CLASS = -1


@dataclass(frozen=True)
class ClassMetrics:
    """One row of the per-class table; a precision or recall of no images is 0."""

    name: str
    num_images: int  # of this class
    precision: float  # 0–1, of the predictions of this class
    recall: float  # 0–1, of the images of this class
    f1: float  # harmonic mean of the two


def wilson_interval(num_right: int, num_images: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a fraction, each end 0–1.

    Unlike the normal approximation it stays within 0–1 and holds near the ends.

    Source: Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".
    """
    if num_images == 0:
        return 0.0, 1.0
    share = num_right / num_images
    denominator = 1 + Z_95**2 / num_images
    centre = (share + Z_95**2 / (2 * num_images)) / denominator
    spread = share * (1 - share) / num_images + Z_95**2 / (4 * num_images**2)
    half = Z_95 / denominator * math.sqrt(spread)
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
    """Return for each image whether its class is among the k most probable.

    Among equals the class of the lower index comes first, as in `argmax`. NaN is never right.
    """
    own = np.take_along_axis(probabilities_NK, labels_N[:, None], axis=1)
    earlier = np.arange(probabilities_NK.shape[1])[None, :] < labels_N[:, None]
    ahead = (probabilities_NK > own) | ((probabilities_NK == own) & earlier)
    hits: NDArray[np.bool_] = (ahead.sum(axis=1) < k) & np.isfinite(own[:, 0])
    return hits


def predicted_classes(probabilities_NK: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the most probable class of each image, `NO_CLASS` where the answer is NaN."""
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

    `labels_N` has every image, also those without an answer, which are not in the counts.
    """
    actual_K = np.bincount(labels_N, minlength=len(classes)).tolist()
    predicted_K, hits_K = confusion_KK.sum(axis=0).tolist(), confusion_KK.diagonal().tolist()
    return tuple(
        ClassMetrics(
            name,
            num_images=actual,
            precision=hits / max(predicted, 1),
            recall=hits / max(actual, 1),
            f1=2 * hits / max(actual + predicted, 1),
        )
        for name, actual, predicted, hits in zip(
            classes, actual_K, predicted_K, hits_K, strict=True
        )
    )


@dataclass(frozen=True)
class CalibrationBin:
    """The images whose top-1 probability is above `low` and at most `high`."""

    low: float  # 0–1; the first bin includes it
    high: float
    num_images: int
    mean_confidence: float | None  # mean top-1 probability; none without images
    share_right: float | None  # accuracy; none without images


@dataclass(frozen=True)
class Calibration:
    expected_error: float | None
    """Expected calibration error: mean over the images of the distance between their bin's
    confidence and accuracy, 0–1; none if no image has an answer."""
    bins: tuple[CalibrationBin, ...]  # from the least to the most confident, also empty ones


def calibration(
    probabilities_NK: NDArray[np.float64], labels_N: NDArray[np.int64], *, num_bins: int = 15
) -> Calibration:
    """Compare how confident a model is with how often it is right, in bins of equal width.

    Images whose answer is NaN are left out. The error depends on the bins, is biased where they
    hold few images, and ignores the classes below the first.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", §2, eq. 2, 3 and 5 (15 bins
        in §5); the number is that of Naeini, Cooper and Hauskrecht 2015.
    """
    confidences_N = probabilities_NK.max(axis=1)
    is_answered_N = np.isfinite(confidences_N)
    confidences = confidences_N[is_answered_N]
    right = probabilities_NK[is_answered_N].argmax(axis=1) == labels_N[is_answered_N]
    edges = np.arange(num_bins + 1) / num_bins
    places = np.clip(np.searchsorted(edges, confidences) - 1, 0, num_bins - 1)
    bins, gaps = [], 0.0
    for place in range(num_bins):
        low, high = float(edges[place]), float(edges[place + 1])
        inside = places == place
        count = int(inside.sum())
        if not count:
            bins.append(CalibrationBin(low, high, 0, None, None))
            continue
        confidence, accuracy = float(confidences[inside].mean()), float(right[inside].mean())
        gaps += count * abs(accuracy - confidence)
        bins.append(CalibrationBin(low, high, count, confidence, accuracy))
    return Calibration(gaps / len(confidences) if len(confidences) else None, tuple(bins))


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation; accuracies are 0–1."""

    num_images: int
    num_unanswered: int  # images with a NaN for an answer: wrong, and not in `confusion`
    top1: float
    top1_interval: tuple[float, float]  # Wilson, 95 %
    top5: float
    loss: float  # mean negative log-likelihood in nats
    num_views: int  # averaged per image
    classes: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]  # counts by true class, then predicted class
    calibration: Calibration

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data for JSON; a loss of NaN becomes None."""
        loss = self.loss if math.isfinite(self.loss) else None
        return dataclasses.asdict(self) | {"loss": loss}


def summarise(
    probabilities_NK: NDArray[np.float64],
    labels_N: NDArray[np.int64],
    *,
    classes: tuple[str, ...],
    num_views: int = 1,
) -> Evaluation:
    hits = in_top_k(probabilities_NK, labels_N, 1)
    predictions_N = predicted_classes(probabilities_NK)
    confusion = confusion_matrix(labels_N, predictions_N, len(classes))
    return Evaluation(
        num_images=len(labels_N),
        num_unanswered=int((predictions_N == NO_CLASS).sum()),
        top1=float(hits.mean()),
        top1_interval=wilson_interval(int(hits.sum()), len(labels_N)),
        top5=float(in_top_k(probabilities_NK, labels_N, 5).mean()),
        loss=mean_negative_log_likelihood(probabilities_NK, labels_N),
        num_views=num_views,
        classes=class_metrics(confusion, labels_N, classes),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        calibration=calibration(probabilities_NK, labels_N),
    )


SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Comparison:
    num_images: int
    only_first: int  # images that only the first classifies correctly
    only_second: int
    difference: float  # top-1 of the second minus that of the first, -1 to 1
    difference_interval: tuple[float, float]  # 95 %
    p_value: float  # of McNemar's exact test


def compare(first_right_N: NDArray[np.bool_], second_right_N: NDArray[np.bool_]) -> Comparison:
    """Compare two models by which images each classifies correctly.

    The result is about these two models; it says nothing about retraining with another seed.
    """
    num_images = len(first_right_N)
    only_first = int((first_right_N & ~second_right_N).sum())
    only_second = int((second_right_N & ~first_right_N).sum())
    return Comparison(
        num_images=num_images,
        only_first=only_first,
        only_second=only_second,
        difference=(only_second - only_first) / num_images,
        difference_interval=paired_interval(only_first, only_second, num_images),
        p_value=mcnemar_p_value(only_first, only_second),
    )


def mcnemar_p_value(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of McNemar's test, exact for any number of images.

    Between equal models each image that only one classifies correctly is a toss of a fair coin.
    The tail of that binomial distribution is summed in integers, and rounded once.

    Source: McNemar 1947, "Note on the sampling error of the difference between correlated
        proportions or percentages"; for classifiers, Dietterich 1998, "Approximate Statistical
        Tests for Comparing Supervised Classification Learning Algorithms", §3.1.
    """
    tosses, fewer = only_first + only_second, min(only_first, only_second)
    outcomes = total = 1  # tosses choose 0
    for heads in range(1, fewer + 1):
        outcomes = outcomes * (tosses - heads + 1) // heads
        total += outcomes
    p_value: float = 2 * total / 2**tosses  # mypy takes int**int for Any
    return min(1.0, p_value)


def paired_interval(only_first: int, only_second: int, num_images: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a difference of fractions of the same images.

    Chosen for its closed form, whose coverage also holds with few images. It and the exact test
    may disagree near the limit; the test is stricter.

    Source: Agresti and Min 2005, "Simple improved confidence intervals for comparing matched
        proportions" (Wald+2: half an image is added to each of the four counts).
    """
    size = num_images + 2
    centre = (only_second - only_first) / size
    spread = (only_first + only_second + 1) / size - centre**2
    half = Z_95 * math.sqrt(spread / size)
    return max(-1.0, centre - half), min(1.0, centre + half)
