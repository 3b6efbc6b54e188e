"""Statistics of a claim over seeds: mean, spread, 95 % interval, and the verdict."""

import math
import operator
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from alexnet_cli.paper.experiments import Claim, ClaimKind

# Two-sided 95 % quantiles of Student's t with 1 to 30 degrees of freedom; the last for more.
_T_95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
)  # fmt: skip

_COMBINE: dict[ClaimKind, Callable[..., float]] = {
    ClaimKind.LEVEL: float,
    ClaimKind.DIFFERENCE: operator.sub,
    ClaimKind.RATIO: operator.truediv,
}


class Verdict(StrEnum):
    """The outcome for a claim."""

    AGREES = "agrees"
    DIFFERS = "differs"
    UNDECIDED = "not decided"


@dataclass(frozen=True)
class Estimate:
    """A claim's number over seeds, and the verdict on the claim."""

    num_seeds: int  # with all quantities of the claim
    num_unreached: int  # further seeds, which did not reach the target error
    mean: float | None  # over seeds; geometric for a ratio; None without a seed
    spread: float | None  # standard deviation over seeds; None with fewer than two
    interval: tuple[float, float] | None  # 95 % interval of the mean, on the same test images
    verdict: Verdict


def estimate(claim: Claim, values: Sequence[Mapping[int, float]]) -> Estimate:
    """Estimate a claim's number from the seeds that have all its quantities.

    Differences and ratios are paired by seed: both networks of a seed share the train/validation
    split, the order of images and the initial weights.

    Args:
        claim: The claim.
        values: The values of each of its quantities, by seed; infinite for a seed that did not
            reach the target error.
    """
    seeds = sorted(set.intersection(*map(set, values)))
    rows = [[by_seed[seed] for by_seed in values] for seed in seeds]
    reached = [row for row in rows if all(map(math.isfinite, row))]
    num_unreached = len(rows) - len(reached)
    numbers = [_COMBINE[claim.kind](*row) for row in reached]
    if not numbers:
        return Estimate(0, num_unreached, None, None, None, Verdict.UNDECIDED)
    # A ratio is averaged by its logarithm, so that its inverse has the inverse mean.
    is_ratio = claim.kind is ClaimKind.RATIO
    scale, unscale = (math.log, math.exp) if is_ratio else (float, float)
    scaled = [scale(number) for number in numbers]
    mean, interval = unscale(statistics.mean(scaled)), mean_interval(scaled)
    if interval is not None:
        interval = unscale(interval[0]), unscale(interval[1])
    spread = statistics.stdev(numbers) if len(numbers) > 1 else None
    verdict = Verdict.UNDECIDED if num_unreached else decide(claim, interval)
    return Estimate(len(numbers), num_unreached, mean, spread, interval, verdict)


def mean_interval(numbers: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of a mean by Student's t, or None for fewer than two numbers.

    Source: Student 1908, "The Probable Error of a Mean".
    """
    if len(numbers) < 2:
        return None
    quantile = _T_95[min(len(numbers) - 1, len(_T_95)) - 1]
    half = quantile * statistics.stdev(numbers) / math.sqrt(len(numbers))
    mean = statistics.mean(numbers)
    return mean - half, mean + half


def decide(claim: Claim, interval: tuple[float, float] | None) -> Verdict:
    """Return the verdict: all of the interval is in the claim's region, none of it, or some."""
    if interval is None:
        return Verdict.UNDECIDED
    (low, high), (lowest, highest) = interval, claim.region
    if lowest < low and high < highest:
        return Verdict.AGREES
    if high <= lowest or highest <= low:
        return Verdict.DIFFERS
    return Verdict.UNDECIDED
