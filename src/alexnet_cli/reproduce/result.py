"""The result file of an experiment: runs with their provenance, claims with their verdicts."""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alexnet_cli.errors import AlexnetError, UsageError
from alexnet_cli.files import atomic_write
from alexnet_cli.reproduce.catalog import find_experiment
from alexnet_cli.reproduce.experiment import Claim, Experiment, Measure, Side
from alexnet_cli.reproduce.plan import SEARCH_SEED, PlannedRun, Terms
from alexnet_cli.reproduce.verdict import Estimate, Values, Verdict, estimate, judge

KIND, SCHEMA_VERSION = "reproduction", 1
LOG_COLUMNS = ("epoch", "learning_rate", "train_loss", "train_top1", "val_loss", "val_top1",
               "train_seconds", "val_seconds")  # fmt: skip


@dataclass(frozen=True)
class TestResult:
    """What `alexnet evaluate` said of a run on the test set.

    Attributes:
        num_views: Crops averaged for each image.
        top1: Share of the images answered right.
        top1_interval: Its 95 % interval by Wilson.
        num_images: Images of the test set.
    """

    __test__ = False  # pytest takes the name for its own

    num_views: int
    top1: float
    top1_interval: tuple[float, float]
    num_images: int


@dataclass(frozen=True)
class FinishedRun:
    """A run that has ended.

    Attributes:
        arm: The arm.
        seed: The seed.
        config_sha256: Hash of all settings.
        command: What repeats its training.
        learning_rate: The initial rate.
        epochs: Epochs trained.
        seconds: Time of training and validation.
        epochs_to_train_error: Epochs to 25 % training error; None: not reached.
        tests: On the test set, by number of views.
        provenance: Commit, date, versions, hardware, number of runs at once.
        log: A row for each epoch, of `LOG_COLUMNS`.
    """

    arm: str
    seed: int
    config_sha256: str
    command: str
    learning_rate: float
    epochs: int
    seconds: float
    epochs_to_train_error: float | None
    tests: tuple[TestResult, ...]
    provenance: Mapping[str, Any]
    log: tuple[tuple[float, ...], ...]

    def value(self, measure: Measure) -> float | None:
        """Return what was measured; None where it was not, or was not reached."""
        if measure is Measure.EPOCHS:
            return self.epochs_to_train_error
        found = [1 - test.top1 for test in self.tests if test.num_views == measure.num_views]
        return found[0] if found else None

    def answers(self, run: PlannedRun) -> bool:
        """Whether this is the planned run, with all that is to be measured of it."""
        views = {measure.num_views for measure in run.measures} - {0}
        return self.config_sha256 == run.config.sha256() and views <= {
            test.num_views for test in self.tests
        }


@dataclass(frozen=True)
class Result:
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
    searched: tuple[FinishedRun, ...] = ()
    rates: Mapping[str, float] = dataclasses.field(default_factory=dict)
    runs: tuple[FinishedRun, ...] = ()

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

    def find(self, run: PlannedRun) -> FinishedRun | None:
        """Return what became of a planned run, if it has ended."""
        ended = self.searched if run.seed == SEARCH_SEED else self.runs
        return next((each for each in ended if each.answers(run)), None)

    def with_run(self, run: FinishedRun) -> "Result":
        """Return the result with one more run, in place of an earlier one of the same settings."""
        if run.seed == SEARCH_SEED:
            return replace(self, searched=_with(self.searched, run))
        return replace(self, runs=_with(self.runs, run))


def _with(runs: tuple[FinishedRun, ...], run: FinishedRun) -> tuple[FinishedRun, ...]:
    others = [each for each in runs if each.config_sha256 != run.config_sha256]
    return tuple(sorted([*others, run], key=lambda each: (each.seed, each.arm, each.learning_rate)))


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
    return replace(earlier, command=asked.command, terms=terms)


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
        **dataclasses.asdict(result),
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


def read_result(path: Path) -> Result:
    """Read a result file. What is derived from the runs is not taken from it.

    Raises:
        AlexnetError: It is none, or damaged.
    """
    try:
        return _from_document(json.loads(path.read_bytes()))
    except OSError as error:
        raise AlexnetError(
            f"{path} cannot be read: {error.strerror}",
            hint="make one with: alexnet reproduce NAME",
            code="result_missing",
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise AlexnetError(
            f"{path} is not a result of alexnet reproduce, or damaged ({error})",
            hint="move it away; the run folders beside it are used again",
            code="result_damaged",
        ) from error


def _from_document(document: Any) -> Result:
    if document["kind"] != KIND or document["schema_version"] != SCHEMA_VERSION:
        raise ValueError("it is of another kind or version")
    return Result(
        experiment=find_experiment(document["experiment"]).name,
        command=str(document["command"]),
        terms=Terms(**document["terms"]),
        searched=_finished(document["searched"]),
        rates={str(arm): float(rate) for arm, rate in document["rates"].items()},
        runs=_finished(document["runs"]),
    )


def _finished(documents: Sequence[Mapping[str, Any]]) -> tuple[FinishedRun, ...]:
    return tuple(
        FinishedRun(
            **{
                **document,
                "tests": tuple(
                    TestResult(**{**test, "top1_interval": tuple(test["top1_interval"])})
                    for test in document["tests"]
                ),
                "log": tuple(tuple(map(float, row)) for row in document["log"]),
            }
        )
        for document in documents
    )
