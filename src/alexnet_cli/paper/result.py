"""The result of an experiment, and the file it is kept in."""

import contextlib
import dataclasses
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import Field, PositiveFloat, ValidationError

from alexnet_cli.errors import AlexnetError, TrainingError, UsageError, first_line
from alexnet_cli.files import atomic_write, lock_folder
from alexnet_cli.paper.experiments import Measure, Quantity, find_experiment
from alexnet_cli.paper.plan import (
    SEARCH_SEED,
    PlannedRun,
    Protocol,
    is_shortened,
    plan_search,
    plan_seeds,
)
from alexnet_cli.paper.provenance import Record, RunProvenance
from alexnet_cli.paper.verdict import ClaimResult, Values, evaluate_claims

KIND, SCHEMA_VERSION = "reproduction", 1
LOG_COLUMNS = ("epoch", "learning_rate", "train_loss", "train_top1", "val_loss", "val_top1",
               "train_seconds", "val_seconds")  # fmt: skip

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
LogRow: TypeAlias = tuple[float, float, float, float, float, float, float, float]


class TestResult(Record):
    """Output of `alexnet evaluate` on the test set.

    Attributes:
        num_views: Crops averaged for each image.
        top1: Top-1 accuracy, 0–1.
        top1_interval: Its 95 % interval by Wilson.
        num_images: Images of the test set.
    """

    __test__ = False  # pytest would collect the class by its name

    num_views: int
    top1: Share
    top1_interval: tuple[Share, Share]
    num_images: int


class FinishedRun(Record):
    """A finished run.

    Attributes:
        key: Hash of the settings that differ from the defaults.
        command: The command that repeats the training.
        learning_rate: Initial learning rate.
        seconds: Time of training and validation.
        epochs_to_train_error: Epochs to 25 % training error; None if not reached.
        tests: Results on the test set, by number of views.
        log: A row for each epoch, with `LOG_COLUMNS`.
    """

    arm: str
    seed: int
    key: str
    command: str
    learning_rate: float
    epochs: int
    seconds: float
    epochs_to_train_error: PositiveFloat | None
    tests: tuple[TestResult, ...]
    provenance: RunProvenance
    log: tuple[LogRow, ...]

    def is_complete_for(self, run: PlannedRun) -> bool:
        """Return True if this is the planned run, with all its measurements."""
        views = {measure.num_views for measure in run.measures} - {0}
        is_same = (self.arm, self.key) == (run.arm, run.key)
        return is_same and views <= {test.num_views for test in self.tests}


class Result(Record):
    """The result of an experiment so far. Aliases are the names in the file.

    Attributes:
        searched: Runs that chose the learning rates.
        learning_rates: The learning rates chosen, by arm.
        runs: The runs that count.
    """

    experiment: str
    protocol: Protocol = Field(alias="terms")
    searched: tuple[FinishedRun, ...]
    learning_rates: Mapping[str, float] = Field(alias="rates")
    runs: tuple[FinishedRun, ...]

    @property
    def command(self) -> str:
        """The command that repeats the experiment."""
        return self.protocol.command(self.experiment)

    @property
    def all_runs(self) -> tuple[FinishedRun, ...]:
        """The runs of the search, then those that count."""
        return (*self.searched, *self.runs)

    @property
    def values(self) -> Values:
        """Measured values by quantity and seed; None if 25 % training error was not reached."""
        values: dict[Quantity, dict[int, float | None]] = {}
        for run in self.runs:
            measured: dict[Measure, float | None] = {Measure.EPOCHS: run.epochs_to_train_error}
            errors = {test.num_views: 1 - test.top1 for test in run.tests}
            measured |= {each: errors[each.num_views] for each in Measure
                         if each.num_views in errors}  # fmt: skip
            for measure, value in measured.items():
                values.setdefault(Quantity(run.arm, measure), {})[run.seed] = value
        return values

    def missing(self, runs: Sequence[PlannedRun]) -> list[PlannedRun]:
        """Return the planned runs that are not finished or lack a measurement."""
        return [run for run in runs if not any(each.is_complete_for(run) for each in self.all_runs)]

    def with_run(self, run: FinishedRun) -> "Result":
        """Return the result with another run, which replaces a run of the same settings."""
        name = "searched" if run.seed == SEARCH_SEED else "runs"
        others = [each for each in getattr(self, name) if each.key != run.key]
        ordered = sorted([*others, run], key=lambda each: (each.seed, each.arm, each.learning_rate))
        return self.model_copy(update={name: tuple(ordered)})


def new_result(experiment: str, protocol: Protocol) -> Result:
    """Return a result without runs."""
    return Result(
        experiment=experiment, protocol=protocol, searched=(), learning_rates={}, runs=()
    )  # fmt: skip


def continue_result(earlier: Result, experiment: str, requested: Protocol, path: Path) -> Result:
    """Return an earlier result, extended to the requested seeds; runs of more seeds stay.

    Args:
        earlier: The content of the file.
        experiment: Name of the requested experiment.
        requested: Its extent.
        path: The file.

    Raises:
        UsageError: The file has another experiment, dataset or limit on epochs.
    """
    own = earlier.protocol
    same_seeds = dataclasses.replace(own, num_seeds=requested.num_seeds)
    if earlier.experiment != experiment or same_seeds != requested:
        raise UsageError(
            f"{path} has the result of another command: {earlier.command}",
            hint="continue it with that command and the same --output, or choose another --output",
        )
    num_seeds = max(own.num_seeds, requested.num_seeds)
    protocol = dataclasses.replace(own, num_seeds=num_seeds)
    return earlier.model_copy(update={"protocol": protocol})


def lock_output(output: Path) -> contextlib.AbstractContextManager[object]:
    """Lock the folder of results and runs against other processes.

    Raises:
        TrainingError: Another process holds the lock.
    """
    busy = TrainingError(
        f"another process is running experiments in {output}",
        hint="wait for it, or choose another folder: --output FOLDER",
        code="run_busy",
    )
    return lock_folder(output, busy=busy)


def write_result(path: Path, result: Result) -> None:
    """Write a result file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
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
    experiment = find_experiment(result.experiment)
    claims = [
        _claim_document(each)
        | {"is_shortened": is_shortened(experiment, each.claim, result.protocol)}
        for each in evaluate_claims(experiment, result.values)
    ]
    return {
        "kind": KIND,
        "schema_version": SCHEMA_VERSION,
        "command": result.command,
        "is_trial": result.protocol.is_trial,
        **result.model_dump(mode="json", by_alias=True),
        "claims": claims,
        "log_columns": LOG_COLUMNS,
    }


def _claim_document(each: ClaimResult) -> dict[str, Any]:
    claim = each.claim
    low, high = (None if abs(bound) == float("inf") else bound for bound in claim.region)
    return {
        "claim": claim.text,
        "published": claim.published,
        "form": claim.kind,
        "sides": [f"{quantity.arm}: {quantity.measure}" for quantity in claim.quantities],
        "holds_from": low,
        "holds_to": high,
        **dataclasses.asdict(each.estimate),
        "verdict": each.verdict,
    }


def read_result(path: Path) -> Result:
    """Read a result file. Verdicts are computed from its runs, not read.

    Raises:
        AlexnetError: The file is missing, damaged, or has runs of other settings.
    """
    try:
        document = json.loads(path.read_bytes())
        if not isinstance(document, dict) or document.get("kind") != KIND:
            raise ValueError(f"it is not of the kind {KIND}")  # noqa: TRY301
        if document.get("schema_version") != SCHEMA_VERSION:
            version = document.get("schema_version")
            raise ValueError(f"it has schema {version!r}, not {SCHEMA_VERSION}")  # noqa: TRY301
        result = Result.model_validate(document)
    except OSError as error:
        raise AlexnetError(
            f"{path} cannot be read: {error.strerror}",
            hint="make one with: alexnet reproduce NAME",
            code="result_missing",
        ) from error
    except (ValueError, RecursionError) as error:  # JSON's and pydantic's are ValueErrors
        raise AlexnetError(
            f"{path} is damaged or not a result of alexnet reproduce ({_first_problem(error)})",
            hint="move it away; the run folders are used again",
            code="result_damaged",
        ) from error
    _require_planned(path, result)
    return result


def _first_problem(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return first_line(error)


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
