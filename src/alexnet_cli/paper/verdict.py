"""What several seeds say about a claim: mean, spread, interval, verdict."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from alexnet_cli.paper.experiments import Claim, Form, Side

Values = Mapping[Side, Mapping[int, float | None]]
"""What was measured, by side and seed; None of a seed that never reached what is counted."""

_T_95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Two-sided 95 % quantiles of Student's t with 1 to 30 degrees of freedom; the last for more."""


class Verdict(StrEnum):
    """What the interval says about a claim."""

    AGREES = "agrees"
    DIFFERS = "differs"
    UNDECIDED = "not decided"


@dataclass(frozen=True)
class Estimate:
    """A claim's number over seeds.

    Attributes:
        num_seeds: Seeds in which all sides were measured, and reached.
        num_unreached: Seeds in which a side never reached what is counted.
        mean: Their mean; of ratios the geometric one. None without a seed.
        spread: Their standard deviation; None of fewer than two.
        interval: 95 % interval of the mean over seeds, on these test images; None of fewer.
    """

    num_seeds: int
    num_unreached: int = 0
    mean: float | None = None
    spread: float | None = None
    interval: tuple[float, float] | None = None


def estimate(claim: Claim, values: Values) -> Estimate:
    """Return a claim's number over the seeds that have all its sides, compared seed by seed.

    What a seed decides, division of the images, order and first weights, is the same on both sides.
    """
    by_seed = [values.get(side, {}) for side in claim.sides]
    seeds = sorted(set.intersection(*map(set, by_seed)))
    rows = [[side[seed] for side in by_seed] for seed in seeds]
    reached = [[value for value in row if value is not None] for row in rows]
    numbers = [_number(claim.form, row) for row in reached if len(row) == len(by_seed)]
    count, num_unreached = len(numbers), len(rows) - len(numbers)
    if not numbers:
        return Estimate(0, num_unreached)
    if claim.form is not Form.RATIO:
        mean = statistics.mean(numbers)
        return Estimate(count, num_unreached, mean, _spread(numbers), mean_interval(numbers))
    logs = [math.log(number) for number in numbers]
    found = mean_interval(logs)
    interval = (math.exp(found[0]), math.exp(found[1])) if found else None
    mean = math.exp(statistics.mean(logs))
    return Estimate(count, num_unreached, mean, _spread(numbers), interval)


def _number(form: Form, sides: Sequence[float]) -> float:
    match form:
        case Form.LEVEL:
            return sides[0]
        case Form.DIFFERENCE:
            return sides[0] - sides[1]
        case Form.RATIO:
            return sides[0] / sides[1]


def _spread(numbers: Sequence[float]) -> float | None:
    return statistics.stdev(numbers) if len(numbers) > 1 else None


def mean_interval(numbers: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of a mean by Student's t, None of fewer than two numbers.

    Source: Student 1908, "The Probable Error of a Mean".
    """
    if len(numbers) < 2:
        return None
    quantile = _T_95[min(len(numbers) - 1, len(_T_95)) - 1]
    half = quantile * statistics.stdev(numbers) / math.sqrt(len(numbers))
    mean = statistics.mean(numbers)
    return mean - half, mean + half


def judge(claim: Claim, found: Estimate) -> Verdict:
    """Say whether all of the interval is where the claim holds, none of it, or a part.

    Nothing is decided where a seed is missing from the numbers because it never got there.
    """
    if found.interval is None or found.num_unreached:
        return Verdict.UNDECIDED
    (low, high), (lowest, highest) = found.interval, claim.region
    if lowest < low and high < highest:
        return Verdict.AGREES
    if high <= lowest or highest <= low:
        return Verdict.DIFFERS
    return Verdict.UNDECIDED
