"""Whether one of two models is better, judged by their answers to the same images.

N images; of interest are those that one model has right and the other has not.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.evaluation.metrics import Z_95

SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images.

    Attributes:
        num_images: Images that both answered.
        only_first: Images that only the first has right.
        only_second: Images that only the second has right.
        difference: Top-1 of the second less that of the first, -1 to 1.
        difference_interval: Its 95 % confidence interval.
        p_value: Of McNemar's exact test: how likely counts so unequal are among equal models.
    """

    num_images: int
    only_first: int
    only_second: int
    difference: float
    difference_interval: tuple[float, float]
    p_value: float


def compare(first_right_N: NDArray[np.bool_], second_right_N: NDArray[np.bool_]) -> Comparison:
    """Compare two models by which images each has right.

    It is about these two models and images like these. What another seed of the training would
    change is not in it.
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

    Between equal models each image that only one has right is a toss of a fair coin. The tail of
    that binomial distribution is summed in whole numbers, and rounded once.

    Source: McNemar 1947, "Note on the sampling error of the difference between correlated
        proportions or percentages"; for classifiers, Dietterich 1998, "Approximate Statistical
        Tests for Comparing Supervised Classification Learning Algorithms", §3.1.
    """
    tosses, fewer = only_first + only_second, min(only_first, only_second)
    outcomes = total = 1  # tosses choose 0
    for heads in range(1, fewer + 1):
        outcomes = outcomes * (tosses - heads + 1) // heads
        total += outcomes
    p_value: float = 2 * total / 2**tosses  # without rounding before; mypy takes int**int for Any
    return min(1.0, p_value)


def paired_interval(only_first: int, only_second: int, num_images: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a difference of shares of the same images.

    Chosen for its closed form, whose coverage holds with few images too. It and the exact test may
    disagree near the limit; the test is the stricter.

    Source: Agresti and Min 2005, "Simple improved confidence intervals for comparing matched
        proportions" (Wald+2: half an image is added to each of the four counts).
    """
    size = num_images + 2
    centre = (only_second - only_first) / size
    spread = (only_first + only_second + 1) / size - centre**2
    half = Z_95 * sqrt(spread / size)
    return max(-1.0, centre - half), min(1.0, centre + half)
