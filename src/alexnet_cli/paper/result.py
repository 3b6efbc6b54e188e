"""What an experiment has come to: its runs, each with its provenance.

Where a result comes from: code, versions, hardware.
"""

import datetime
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

from alexnet_cli.errors import CheckpointError, TrainingError, UsageError
from alexnet_cli.paper.experiments import Measure, Side
from alexnet_cli.paper.plan import SEARCH_SEED, PlannedRun, Terms
from alexnet_cli.paper.verdict import Values
from alexnet_cli.runs import RunFolder
from alexnet_cli.training.run_files import commit
from alexnet_cli.training.saving import newest_checkpoint

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
        commit: Of the checkout in which it began; "" outside of one.
        ended_with: That in which it was measured, where it was another.
        date: When it was measured.
        cpu: The processor.
        device: What trained it, and with how many threads.
        began_on: The device it began on, where that was another.
        precision: Number format of the forward and backward pass.
        lrn: What computes response normalisation.
        platform: Operating system.
        images: Which images were trained on, which held out.
        versions: Of the libraries.
        runs_at_once: Runs that shared the machine in the end.
    """

    commit: str
    ended_with: str
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
        is_it = (self.arm, self.key) == (run.arm, run.key)
        return is_it and views <= {test.num_views for test in self.tests}


class Result(_Record):
    """What an experiment has come to so far.

    Attributes:
        experiment: Its name.
        terms: Seeds, dataset, longest training.
        searched: Runs that chose the rates.
        rates: The rates chosen, by arm.
        runs: The runs that count.
    """

    experiment: str
    terms: Terms
    searched: tuple[FinishedRun, ...]
    rates: Mapping[str, float]
    runs: tuple[FinishedRun, ...]

    @property
    def command(self) -> str:
        """What carries it out."""
        return self.terms.command(self.experiment)

    @property
    def all_runs(self) -> tuple[FinishedRun, ...]:
        """Those of the search, then those that count."""
        return (*self.searched, *self.runs)

    @property
    def values(self) -> Values:
        """What was measured, by side and seed; None where what is counted was not reached."""
        values: dict[Side, dict[int, float | None]] = {}
        for run in self.runs:
            for measure in Measure:
                value = run.value(measure)
                if value is not None or measure is Measure.EPOCHS:
                    values.setdefault(Side(run.arm, measure), {})[run.seed] = value
        return values

    def missing(self, runs: Sequence[PlannedRun]) -> list[PlannedRun]:
        """Return the planned runs that have not ended, or were not measured whole."""
        return [run for run in runs if not any(each.answers(run) for each in self.all_runs)]

    def with_run(self, run: FinishedRun) -> "Result":
        """Return the result with one more run, in place of an earlier one of the same settings."""
        name = "searched" if run.seed == SEARCH_SEED else "runs"
        others = [each for each in getattr(self, name) if each.key != run.key]
        ordered = sorted([*others, run], key=lambda each: (each.seed, each.arm, each.learning_rate))
        return self.model_copy(update={name: tuple(ordered)})


def new_result(experiment: str, terms: Terms) -> Result:
    """Return a result without runs."""
    return Result(experiment=experiment, terms=terms, searched=(), rates={}, runs=())


def go_on_with(earlier: Result, experiment: str, asked: Terms, path: Path) -> Result:
    """Return an earlier result for what is asked now; its runs stay, of more seeds too.

    Args:
        earlier: What the file has.
        experiment: What is to be carried out.
        asked: How.
        path: The file.

    Raises:
        UsageError: The file is of another experiment, dataset or length of training.
    """
    own = earlier.terms
    if earlier.experiment != experiment or replace(own, num_seeds=asked.num_seeds) != asked:
        raise UsageError(
            f"{path} has a result of other terms: {earlier.command}",
            hint="go on with it by that command and the same --output, or begin another in an "
            "--output of its own",
        )
    terms = replace(own, num_seeds=max(own.num_seeds, asked.num_seeds))
    return earlier.model_copy(update={"terms": terms})


_NEEDED = {"commit", "cpu", "device", "images", "lrn", "platform", "precision", "versions"}


def provenance_of(run: RunFolder, *, runs_at_once: int) -> Provenance:
    """Return the provenance of a finished run, as its folder has recorded it.

    Args:
        run: The run.
        runs_at_once: Runs that shared the machine in the end.

    Raises:
        TrainingError: What the folder recorded is damaged.
    """
    began, now = _read_environment(run), commit()
    versions = began["versions"]
    try:
        ended = newest_checkpoint(run.checkpoints).environment
    except CheckpointError:  # it diverged before anything was saved
        ended = began
    return Provenance(
        commit=began["commit"],
        ended_with=now if now != began["commit"] else "",
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        cpu=began["cpu"],
        device=ended["device"],
        began_on=began["device"] if began["device"] != ended["device"] else "",
        precision=ended["precision"],
        lrn=ended["lrn"],
        platform=began["platform"],
        images=ended["images"],
        versions={name: _through(each, ended.get(name)) for name, each in versions.items()},
        runs_at_once=runs_at_once,
    )


def _read_environment(run: RunFolder) -> dict[str, Any]:
    try:
        began = json.loads(run.environment.read_bytes())
        if began.keys() >= _NEEDED and isinstance(began["versions"], dict):
            return dict(began)
    except (OSError, ValueError, AttributeError):
        pass
    path = shlex.quote(str(run.path))
    raise TrainingError(
        f"{run.environment} is damaged: where the run comes from is not known any more",
        hint=f"move the run away, to begin it anew: mv {path} {path}-old",
        code="environment_damaged",
    )


def _through(began_with: str, ended_with: str | None) -> str:
    """Return a version, or both where the run went on with another.

    The name of the build, as in `2.14.1+cu130`, is only known of the end.
    """
    is_one = ended_with is None or ended_with.partition("+")[0] == began_with.partition("+")[0]
    return began_with if is_one else f"{began_with}, then {ended_with}"
