"""What an experiment has come to: its runs, each with its provenance."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

from alexnet_cli.errors import UsageError
from alexnet_cli.reproduce.experiment import Measure, Side
from alexnet_cli.reproduce.plan import SEARCH_SEED, PlannedRun, Terms
from alexnet_cli.reproduce.verdict import Values

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
