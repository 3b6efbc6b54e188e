"""The result of an experiment: its runs, the verdict on each claim, and the file it is kept in."""

import dataclasses
import json
import math
import operator
import re
import shlex
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError

from alexnet_cli.errors import AlexnetError, UsageError, first_line
from alexnet_cli.files import atomic_write
from alexnet_cli.paper.experiments import Claim, ClaimKind, Measure, Quantity, find_experiment
from alexnet_cli.paper.plan import (
    SEARCH_SEED,
    PlannedRun,
    Protocol,
    is_shortened,
    plan_search,
    plan_seeds,
)

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

    `values` are those of each quantity of the claim, by seed; infinite for a seed that did not
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


KIND, SCHEMA_VERSION = "reproduction", 1
LOG_COLUMNS = ("epoch", "learning_rate", "train_loss", "train_top1", "val_loss", "val_top1",
               "train_seconds", "val_seconds")  # fmt: skip

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
LogRow: TypeAlias = tuple[float, float, float, float, float, float, float, float]


class Record(BaseModel):
    """Plain data of a result file; fields of later versions are ignored."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", allow_inf_nan=False, populate_by_name=True
    )


class RunProvenance(Record):
    """Code, versions and hardware of a run."""

    commit: str  # of the checkout in which it began; "" outside a checkout
    ended_with: str  # commit in which it was tested, if another
    date: str  # of the test
    cpu: str
    device: str
    began_on: str  # device, if it ended on another
    precision: str
    lrn: str  # implementation of local response normalisation
    platform: str
    images: str  # fingerprint of the train/validation split
    versions: Mapping[str, str]
    runs_at_once: int  # runs that shared the machine at the end


class Score(Record):
    """Accuracy on the test set, as `alexnet evaluate --json` prints it."""

    num_views: int  # crops averaged for each image
    top1: Share
    top1_interval: tuple[Share, Share]  # 95 %, by Wilson
    num_images: int


class FinishedRun(Record):
    arm: str
    seed: int
    key: str  # that of the planned run
    command: str  # repeats the training
    learning_rate: float  # of the first epoch
    epochs: int
    seconds: float  # of training and validation
    epochs_to_train_error: PositiveFloat | None  # to 25 % training error; None if not reached
    tests: tuple[Score, ...]  # by number of views
    provenance: RunProvenance
    log: tuple[LogRow, ...]  # a row for each epoch, with `LOG_COLUMNS`

    @property
    def epochs_needed(self) -> float:
        """Epochs to 25 % training error; infinite if not reached."""
        return math.inf if self.epochs_to_train_error is None else self.epochs_to_train_error

    def measured(self, measure: Measure) -> float | None:
        """Return a measurement, or None if it was not made."""
        if measure is Measure.EPOCHS:
            return self.epochs_needed
        errors = (1 - test.top1 for test in self.tests if test.num_views == measure.num_views)
        return next(errors, None)

    def is_complete_for(self, run: PlannedRun) -> bool:
        is_same = (self.arm, self.key) == (run.arm, run.key)
        return is_same and all(self.measured(each) is not None for each in run.measures)


class Result(Record):
    """The result of an experiment so far. Aliases are the names in the file."""

    experiment: str
    protocol: Protocol = Field(alias="terms")
    searched: tuple[FinishedRun, ...]  # runs that chose the learning rates
    learning_rates: Mapping[str, float] = Field(alias="rates")  # the chosen ones, by arm
    runs: tuple[FinishedRun, ...]  # the runs that count

    @property
    def command(self) -> str:
        return self.protocol.command(self.experiment)

    @property
    def all_runs(self) -> tuple[FinishedRun, ...]:
        return (*self.searched, *self.runs)

    def values(self, quantity: Quantity) -> dict[int, float]:
        """Return the measured values of a quantity by seed; infinite if not reached."""
        own = [run for run in self.runs if run.arm == quantity.arm]
        values = {run.seed: run.measured(quantity.measure) for run in own}
        return {seed: value for seed, value in values.items() if value is not None}

    def estimate(self, claim: Claim) -> Estimate:
        return estimate(claim, [self.values(quantity) for quantity in claim.quantities])

    def missing(self, runs: Sequence[PlannedRun]) -> list[PlannedRun]:
        """Return the planned runs that are not finished or lack a measurement."""
        return [run for run in runs if not any(each.is_complete_for(run) for each in self.all_runs)]

    def with_run(self, run: FinishedRun) -> "Result":
        """Return the result with another run, which replaces a run of the same settings."""
        name = "searched" if run.seed == SEARCH_SEED else "runs"
        others = [each for each in getattr(self, name) if each.key != run.key]
        ordered = sorted([*others, run], key=lambda each: (each.seed, each.arm, each.learning_rate))
        return self.model_copy(update={name: tuple(ordered)})


def open_result(path: Path, experiment: str, protocol: Protocol) -> Result:
    """Return the result in a file, extended to the requested seeds, or one without runs.

    Raises:
        UsageError: The file has another experiment, dataset or limit on epochs.
        AlexnetError: The file is damaged, or has runs of other settings.
    """
    if not path.exists():
        return Result(
            experiment=experiment, protocol=protocol, searched=(), learning_rates={}, runs=()
        )
    earlier = read_result(path)
    num_seeds = max(earlier.protocol.num_seeds, protocol.num_seeds)
    extended = dataclasses.replace(protocol, num_seeds=num_seeds)
    same_seeds = dataclasses.replace(earlier.protocol, num_seeds=num_seeds)
    if (earlier.experiment, same_seeds) != (experiment, extended):
        raise UsageError(
            f"{path} has the result of another command: {earlier.command}",
            hint="continue it with that command and the same --output, or choose another --output",
        )
    return earlier.model_copy(update={"protocol": extended})


def write_result(path: Path, result: Result) -> None:
    text = json.dumps(to_document(result), indent=1)
    # An epoch of the log on one line, not on nine.
    lines = re.sub(
        r"\[\s+([^][{}\"]+?)\s+\]",
        lambda numbers: f"[{' '.join(numbers[1].split())}]",
        text,
    )
    atomic_write(path, (lines + "\n").encode())


def to_document(result: Result) -> dict[str, Any]:
    """Return a result as plain data, with its verdicts."""
    return {
        "kind": KIND,
        "schema_version": SCHEMA_VERSION,
        "command": result.command,
        "is_trial": result.protocol.is_trial,
        **result.model_dump(mode="json", by_alias=True),
        "claims": [
            _claim_document(claim, result) for claim in find_experiment(result.experiment).claims
        ],
        "log_columns": LOG_COLUMNS,
    }


def _claim_document(claim: Claim, result: Result) -> dict[str, Any]:
    low, high = (None if abs(bound) == math.inf else bound for bound in claim.region)
    experiment = find_experiment(result.experiment)
    return {
        "claim": claim.text,
        "published": claim.published,
        "form": claim.kind,
        "sides": [f"{quantity.arm}: {quantity.measure}" for quantity in claim.quantities],
        "holds_from": low,
        "holds_to": high,
        **dataclasses.asdict(result.estimate(claim)),
        "is_shortened": is_shortened(experiment, claim, result.protocol),
    }


def read_result(path: Path) -> Result:
    """Read a result file. Verdicts are computed from its runs, not read.

    Raises:
        AlexnetError: The file is missing, damaged, or has runs of other settings.
    """
    try:
        result = _parse(path.read_bytes())
    except OSError as error:
        raise AlexnetError(
            f"{path} cannot be read: {error.strerror}",
            hint="make one with: alexnet reproduce NAME",
            code="result_missing",
        ) from error
    except (ValueError, RecursionError) as error:  # JSON's are ValueErrors
        raise AlexnetError(
            f"{path} is damaged or not a result of alexnet reproduce ({first_line(error)})",
            hint="move it away; the run folders are used again",
            code="result_damaged",
        ) from error
    _require_planned(path, result)
    return result


def _parse(content: bytes) -> Result:
    document = json.loads(content)
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise ValueError(f"it is not of the kind {KIND}")
    if document.get("schema_version") != SCHEMA_VERSION:
        version = document.get("schema_version")
        raise ValueError(f"it has schema {version!r}, not {SCHEMA_VERSION}")
    try:
        return Result.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _require_planned(path: Path, result: Result) -> None:
    """Refuse runs whose settings are not those of the experiment: they do not test its claims."""
    experiment = find_experiment(result.experiment)
    planned = [
        *plan_search(experiment, result.protocol),
        *plan_seeds(experiment, result.protocol, result.learning_rates),
    ]
    known = {(run.arm, run.key) for run in planned}
    others = [run for run in result.all_runs if (run.arm, run.key) not in known]
    if others:
        raise AlexnetError(
            f"{path} has {len(others)} runs with other settings than {experiment.name} has in this "
            f"version, such as: {others[0].command}",
            hint=f"keep it elsewhere: mv {shlex.quote(str(path))} {shlex.quote(f'{path}.old')}",
            code="result_differs",
        )
