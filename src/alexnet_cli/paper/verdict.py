"""Statistics over seeds: mean, spread and interval of a claim's number, and the verdict."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from alexnet_cli.paper.experiments import Claim, ClaimKind, Experiment, Quantity

Values = Mapping[Quantity, Mapping[int, float | None]]
"""Measured values by quantity and seed; None for a seed that did not reach the target error."""

_T_95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Two-sided 95 % quantiles of Student's t with 1 to 30 degrees of freedom; the last for more."""


class Verdict(StrEnum):
    """The outcome for a claim."""

    AGREES = "agrees"
    DIFFERS = "differs"
    UNDECIDED = "not decided"


@dataclass(frozen=True)
class Estimate:
    """A claim's number over seeds.

    Attributes:
        num_seeds: Seeds for which all quantities of the claim were measured and reached.
        num_unreached: Seeds for which a quantity did not reach the target error.
        mean: Their mean, geometric for ratios; None without a seed.
        spread: Their standard deviation; None with fewer than two seeds.
        interval: 95 % interval of the mean over seeds, on the same test images; None with fewer
            than two seeds.
    """

    num_seeds: int
    num_unreached: int = 0
    mean: float | None = None
    spread: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class ClaimResult:
    """A claim with its estimate and verdict."""

    claim: Claim
    estimate: Estimate
    verdict: Verdict


def evaluate_claims(experiment: Experiment, values: Values) -> list[ClaimResult]:
    """Compare the claims of an experiment with measured values."""
    estimates = [(claim, estimate(claim, values)) for claim in experiment.claims]
    return [ClaimResult(claim, found, judge(claim, found)) for claim, found in estimates]


def estimate(claim: Claim, values: Values) -> Estimate:
    """Estimate a claim's number from the seeds that have all its quantities.

    Differences and ratios are paired by seed: both networks of a seed share the train/validation
    split, the order of images and the initial weights.
    """
    by_seed = [values.get(quantity, {}) for quantity in claim.quantities]
    seeds = sorted(set.intersection(*map(set, by_seed)))
    rows = [[each[seed] for each in by_seed] for seed in seeds]
    reached = [[value for value in row if value is not None] for row in rows]
    numbers = [_number(claim.kind, row) for row in reached if len(row) == len(by_seed)]
    count, num_unreached = len(numbers), len(rows) - len(numbers)
    if not numbers:
        return Estimate(0, num_unreached)
    spread = statistics.stdev(numbers) if count > 1 else None
    if claim.kind is not ClaimKind.RATIO:
        mean = statistics.mean(numbers)
        return Estimate(count, num_unreached, mean, spread, mean_interval(numbers))
    logs = [math.log(number) for number in numbers]
    found = mean_interval(logs)
    interval = (math.exp(found[0]), math.exp(found[1])) if found else None
    return Estimate(count, num_unreached, math.exp(statistics.mean(logs)), spread, interval)


def _number(kind: ClaimKind, values: Sequence[float]) -> float:
    match kind:
        case ClaimKind.LEVEL:
            return values[0]
        case ClaimKind.DIFFERENCE:
            return values[0] - values[1]
        case ClaimKind.RATIO:
            return values[0] / values[1]


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


def judge(claim: Claim, found: Estimate) -> Verdict:
    """Return the verdict: all of the interval inside the claim's region, none of it, or some.

    The claim is undecided if a seed is missing because it did not reach the target error.
    """
    if found.interval is None or found.num_unreached:
        return Verdict.UNDECIDED
    (low, high), (lowest, highest) = found.interval, claim.region
    if lowest < low and high < highest:
        return Verdict.AGREES
    if high <= lowest or highest <= low:
        return Verdict.DIFFERS
    return Verdict.UNDECIDED
