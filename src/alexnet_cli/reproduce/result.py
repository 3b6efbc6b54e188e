"""The result file of an experiment: runs with their provenance, claims with their verdicts."""

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError

from alexnet_cli.errors import AlexnetError, TrainingError, UsageError
from alexnet_cli.files import atomic_write
from alexnet_cli.reproduce.catalog import find_experiment
from alexnet_cli.reproduce.experiment import Claim, Experiment, Measure, Side
from alexnet_cli.reproduce.plan import SEARCH_SEED, PlannedRun, Terms
from alexnet_cli.reproduce.verdict import Estimate, Values, Verdict, estimate, judge

KIND, SCHEMA_VERSION = "reproduction", 1
LOG_COLUMNS = ("epoch", "learning_rate", "train_loss", "train_top1", "val_loss", "val_top1",
               "train_seconds", "val_seconds")  # fmt: skip

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
LogRow: TypeAlias = tuple[float, float, float, float, float, float, float, float]


class _Record(BaseModel):
    """Plain data in a file; what a later version adds is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class TestResult(_Record):
    """What `alexnet evaluate` said of a run on the test set.

    Attributes:
        num_views: Crops averaged for each image.
        top1: Share of the images answered right.
        top1_interval: Its 95 % interval by Wilson.
        num_images: Images of the test set.
    """

    __test__ = False  # pytest takes the name for its own

    num_views: int
    top1: Share
    top1_interval: tuple[Share, Share]
    num_images: int


class Provenance(_Record):
    """Where a run comes from.

    Attributes:
        commit: Of the checkout it ran from; "" outside of one.
        date: When it had ended.
        cpu: The processor.
        device: What trained it, and with how many threads.
        began_on: The device it began on, where that was another.
        precision: Number format of the forward and backward pass.
        lrn: What computes response normalisation.
        platform: Operating system.
        images: Which images were trained on, which held out.
        versions: Of the libraries.
        runs_at_once: Runs that shared the machine.
    """

    commit: str
    date: str
    cpu: str
    device: str
    began_on: str
    precision: str
    lrn: str
    platform: str
    images: str
    versions: Mapping[str, str]
    runs_at_once: int


class FinishedRun(_Record):
    """A run that has ended.

    Attributes:
        arm: The arm.
        seed: The seed.
        key: Hash of the settings that differ from the defaults.
        command: What repeats its training.
        learning_rate: The initial rate.
        epochs: Epochs trained.
        seconds: Time of training and validation.
        epochs_to_train_error: Epochs to 25 % training error; None: not reached.
        tests: On the test set, by number of views.
        provenance: Where it comes from.
        log: A row for each epoch, of `LOG_COLUMNS`.
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
    provenance: Provenance
    log: tuple[LogRow, ...]

    def value(self, measure: Measure) -> float | None:
        """Return what was measured; None where it was not, or was not reached."""
        if measure is Measure.EPOCHS:
            return self.epochs_to_train_error
        found = [1 - test.top1 for test in self.tests if test.num_views == measure.num_views]
        return found[0] if found else None

    def answers(self, run: PlannedRun) -> bool:
        """Whether this is the planned run, with all that is to be measured of it."""
        views = {measure.num_views for measure in run.measures} - {0}
        return self.key == run.key and views <= {test.num_views for test in self.tests}


class Result(_Record):
    """What an experiment has come to so far.

    Attributes:
        experiment: Its name.
        command: What carries it out.
        terms: Seeds, dataset, share of the protocol.
        searched: Runs that chose the rates.
        rates: The rates chosen, by arm.
        runs: The runs that count.
    """

    experiment: str
    command: str
    terms: Terms
    searched: tuple[FinishedRun, ...]
    rates: Mapping[str, float]
    runs: tuple[FinishedRun, ...]

    @property
    def values(self) -> Values:
        """What was measured, by side and seed."""
        values: dict[Side, dict[int, float]] = {}
        for run in self.runs:
            for measure in Measure:
                value = run.value(measure)
                if value is not None:
                    values.setdefault(Side(run.arm, measure), {})[run.seed] = value
        return values

    def missing(self, runs: Sequence[PlannedRun]) -> list[PlannedRun]:
        """Return the planned runs that have not ended, or were not measured whole."""
        ended = (*self.searched, *self.runs)
        return [run for run in runs if not any(each.answers(run) for each in ended)]

    def with_run(self, run: FinishedRun) -> "Result":
        """Return the result with one more run, in place of an earlier one of the same settings."""
        name = "searched" if run.seed == SEARCH_SEED else "runs"
        others = [each for each in getattr(self, name) if each.key != run.key]
        ordered = sorted([*others, run], key=lambda each: (each.seed, each.arm, each.learning_rate))
        return self.model_copy(update={name: tuple(ordered)})

    def without_others(self, runs: Sequence[PlannedRun]) -> "Result":
        """Return the result without runs that count and are not planned, as with other rates."""
        planned = {run.key for run in runs}
        return self.model_copy(
            update={"runs": tuple(run for run in self.runs if run.key in planned)}
        )


def new_result(experiment: str, command: str, terms: Terms) -> Result:
    """Return a result without runs."""
    return Result(
        experiment=experiment, command=command, terms=terms, searched=(), rates={}, runs=()
    )


def go_on_with(earlier: Result, asked: Result, path: Path) -> Result:
    """Return what was asked for, with what there is of it.

    More seeds add to those that are there, fewer leave them.

    Args:
        earlier: What the file has.
        asked: What is to be done, still without runs.
        path: The file.

    Raises:
        UsageError: The file is of another experiment, dataset or length of training.
    """
    old, new = earlier.terms, asked.terms
    if earlier.experiment != asked.experiment or (old.data, old.share) != (new.data, new.share):
        raise UsageError(
            f"{path} has a result of other terms: {earlier.experiment} on {old.data}, "
            f"{old.share:g} of the published epochs",
            hint="repeat those terms, with --shorten; or keep both: --output FOLDER",
        )
    terms = replace(new, num_seeds=max(old.num_seeds, new.num_seeds))
    return earlier.model_copy(update={"command": asked.command, "terms": terms})


@dataclass(frozen=True)
class Judged:
    """A claim, what the seeds came to, and what that says."""

    claim: Claim
    estimate: Estimate
    verdict: Verdict


def judged(experiment: Experiment, result: Result) -> list[Judged]:
    """Hold a result against the experiment's claims."""
    values = result.values
    found = [(claim, estimate(claim, values)) for claim in experiment.claims]
    return [Judged(claim, number, judge(claim, number)) for claim, number in found]


def to_document(result: Result) -> dict[str, Any]:
    """Return a result as plain data, the verdicts with it."""
    experiment = find_experiment(result.experiment)
    return {
        "kind": KIND,
        "schema_version": SCHEMA_VERSION,
        **result.model_dump(mode="json"),
        "claims": [_claim_document(each) for each in judged(experiment, result)],
        "log_columns": LOG_COLUMNS,
    }


def _claim_document(each: Judged) -> dict[str, Any]:
    claim = each.claim
    return {
        "claim": claim.text,
        "published": claim.published,
        "form": claim.form,
        "sides": [f"{side.arm}: {side.measure}" for side in claim.sides],
        "holds_from": _finite(claim.region[0]),
        "holds_to": _finite(claim.region[1]),
        **dataclasses.asdict(each.estimate),
        "verdict": each.verdict,
    }


def _finite(limit: float) -> float | None:
    return None if abs(limit) == float("inf") else limit


def write_result(path: Path, result: Result) -> None:
    """Write the result file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(to_document(result), indent=1)
    lines = re.sub(r"\[\s+([^][{}\"]+?)\s+\]", lambda found: f"[{_on_one_line(found[1])}]", text)
    atomic_write(path, (lines + "\n").encode())


def _on_one_line(numbers: str) -> str:
    return re.sub(r"\s+", " ", numbers)


@contextlib.contextmanager
def alone_with(path: Path) -> Iterator[None]:
    """Keep other processes from writing the same result file.

    Raises:
        TrainingError: Another one is at it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path.with_suffix(".lock"), timeout=0):
            yield
    except Timeout as error:
        raise TrainingError(
            f"another process is carrying out {path}",
            hint="wait for it, or work elsewhere: --output FOLDER",
            code="run_busy",
        ) from error


def read_result(path: Path) -> Result:
    """Read a result file. What is derived from the runs is not taken from it.

    Raises:
        AlexnetError: It is none, or damaged.
    """
    try:
        document = json.loads(path.read_bytes())
        _require_kind(document)
        result = Result.model_validate(document)
    except OSError as error:
        raise AlexnetError(
            f"{path} cannot be read: {error.strerror}",
            hint="make one with: alexnet reproduce NAME",
            code="result_missing",
        ) from error
    except (ValueError, RecursionError) as error:  # pydantic's and JSON's are ValueErrors
        raise AlexnetError(
            f"{path} is not a result of alexnet reproduce, or damaged ({_first_line(error)})",
            hint="move it away; the run folders beside it are used again",
            code="result_damaged",
        ) from error
    find_experiment(result.experiment)
    return result


def _require_kind(document: Any) -> None:
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise ValueError(f"it is not of the kind {KIND}")
    if document.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(f"it has schema {document.get('schema_version')!r}, not {SCHEMA_VERSION}")


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error).partition("\n")[0]
