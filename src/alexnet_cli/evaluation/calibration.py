"""Whether a model is as often right as it is sure. Shape letters: N images, K classes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class CalibrationBin:
    """The images whose top-1 probability is above `low` and at most `high`.

    Attributes:
        low: Lower edge, 0–1; the first bin includes it.
        high: Upper edge, 0–1.
        num_images: Images in the bin.
        mean_confidence: Mean top-1 probability, 0–1; none without images.
        share_right: Share whose most probable class is right, 0–1; none without images.
    """

    low: float
    high: float
    num_images: int
    mean_confidence: float | None
    share_right: float | None


@dataclass(frozen=True)
class Calibration:
    """Confidence against accuracy.

    Attributes:
        expected_error: Mean over the images of the distance between their bin's confidence and
            accuracy, 0–1; none where no image has an answer.
        bins: From the least to the most confident, the empty ones too.
    """

    expected_error: float | None
    bins: tuple[CalibrationBin, ...]


def calibration(
    probabilities_NK: NDArray[np.float64], labels_N: NDArray[np.int64], *, num_bins: int = 15
) -> Calibration:
    """Compare how sure a model is with how often it is right, in bins of equal width.

    Images whose answer is not a number are left out. The number depends on the bins and is biased
    where they hold few images; it says nothing of the classes below the first.

    Args:
        probabilities_NK: Float64, shape (N, K), rows that sum to 1.
        labels_N: True classes.
        num_bins: Bins between 0 and 1.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", §2, eq. 2, 3 and 5 (15 bins
        in §5); the number is that of Naeini, Cooper and Hauskrecht 2015.
    """
    confidences_N = probabilities_NK.max(axis=1)
    answered = np.isfinite(confidences_N)
    confidences = confidences_N[answered]
    right = probabilities_NK[answered].argmax(axis=1) == labels_N[answered]
    edges = np.arange(num_bins + 1) / num_bins
    places = np.clip(np.searchsorted(edges, confidences) - 1, 0, num_bins - 1)
    bins, gaps = [], 0.0
    for place in range(num_bins):
        inside = places == place
        count = int(inside.sum())
        sure = float(confidences[inside].mean()) if count else None
        share = float(right[inside].mean()) if count else None
        if sure is not None and share is not None:
            gaps += count * abs(share - sure)
        bins.append(
            CalibrationBin(float(edges[place]), float(edges[place + 1]), count, sure, share)
        )
    return Calibration(gaps / len(confidences) if len(confidences) else None, tuple(bins))
