"""Several runs at once, each in processes of its own.

On a CPU a process for each core, with one thread each, trains more small networks an hour than one
process on all cores, and than networks stacked in one (`torch.func.vmap`): measured by
`benchmarks/many_seeds.py`.

Carrying out an experiment: the search for rates, then the seeds, kept run by run.

How much of a protocol fits into a number of minutes, by the speed of this machine.
"""

import bisect
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

from alexnet_cli.config.schema import Schedule
from alexnet_cli.data.datasets import SHAPES_TRAIN_SIZE, find_dataset, load_training
from alexnet_cli.devices import num_cores
from alexnet_cli.errors import Interrupted, TrainingError, UsageError
from alexnet_cli.files import temporary_folder
from alexnet_cli.paper.experiments import INFINITE, Arm, Experiment, Measure, find_experiment
from alexnet_cli.paper.plan import TRIAL_DATA, PlannedRun, Terms, plan_run, plan_search, plan_seeds
from alexnet_cli.paper.result import LOG_COLUMNS, FinishedRun, Result
from alexnet_cli.paper.runner import IsEnough, OneRun, epochs_to_train_error
from alexnet_cli.training.checkpoint import EpochRow
from alexnet_cli.training.ranks import StopRequest

_LOOK_SECONDS = 0.5

Keep = Callable[[FinishedRun], None]


@dataclass(frozen=True)
class Place:
    """Where and with what runs are carried out.

    Attributes:
        runs: Parent of the run folders.
        jobs: At most so many runs at once.
        device: As on the command line.
    """

    runs: Path
    jobs: int
    device: str = "auto"

    def at_once(self, num_runs: int) -> int:
        """Return how many of so many runs share the machine."""
        return max(1, min(self.jobs, num_runs))


class Crew:
    """Carries out runs, several at once; what was begun goes on where it stopped.

    Args:
        place: Where.
        told: Told a line for each run that begins and ends.
    """

    def __init__(self, place: Place, told: Callable[[str], None]) -> None:
        self._place, self._told = place, told

    def carry_out(self, runs: Sequence[PlannedRun], *, is_enough: IsEnough, keep: Keep) -> None:
        """Carry out runs in their order.

        Args:
            runs: The runs.
            is_enough: Asked after each epoch.
            keep: Called with each run that has ended, in this thread.

        Raises:
            Interrupted: A signal came; every run has saved.
            TrainingError: A run failed; the others have saved.
        """
        at_once, halt = self._place.at_once(len(runs)), threading.Event()
        worker = OneRun(
            self._place.runs, self._place.device, halt=halt, told=self._told,
            num_threads=max(1, num_cores() // at_once), runs_at_once=at_once,
        )  # fmt: skip
        waiting = list(runs)
        active: set[Future[FinishedRun]] = set()
        with StopRequest() as stop, ThreadPoolExecutor(at_once) as pool:
            try:
                while waiting or active:
                    while waiting and len(active) < at_once:
                        active.add(pool.submit(worker.carry_out, waiting.pop(0), is_enough))
                    done, active = wait(active, _LOOK_SECONDS, FIRST_COMPLETED)
                    if stop.signal_number is not None:
                        active |= done
                        raise _stopped(stop.signal_number)
                    _keep_all(done, keep)
            finally:
                halt.set()  # for those that are still at it, if this is not the end
                _keep_ended(active, keep)


def _keep_all(ended: set[Future[FinishedRun]], keep: Keep) -> None:
    """Keep runs that have ended, then raise the error of one that failed."""
    _keep_ended(ended, keep)
    for future in ended:
        future.result()


def _keep_ended(futures: set[Future[FinishedRun]], keep: Keep) -> None:
    """Wait for runs, and keep those that did not fail."""
    for future in wait(futures).done:
        if future.exception() is None:
            keep(future.result())


def _stopped(signal_number: int) -> Interrupted:
    return Interrupted(
        f"stopped by signal {signal_number}; the runs have saved",
        signal_number=signal_number,
        hint="go on with the same command",
    )


def carry_out(result: Result, num_seeds: int, crew: Crew, keep: Callable[[Result], None]) -> Result:
    """Do what is missing of an experiment.

    Args:
        result: What it has come to so far.
        num_seeds: Seeds to carry out; of more that are there, none goes on.
        crew: Who does it.
        keep: Called with the result after each run.

    Raises:
        TrainingError: With none of the rates an arm reached what is looked for.
    """
    experiment = find_experiment(result.experiment)
    state = _State(result, keep)
    if experiment.rates:
        search = plan_search(experiment, result.terms)
        crew.carry_out(state.result.missing(search), is_enough=state.is_settled, keep=state.add)
        state.set_rates(choose_rates(experiment, state.result))
    all_seeds = plan_seeds(experiment, result.terms, state.result.rates)
    seeds = [run for run in all_seeds if run.seed <= num_seeds]
    crew.carry_out(state.result.missing(seeds), is_enough=_is_reached, keep=state.add)
    return state.result


class _State:
    """The result as it grows."""

    def __init__(self, result: Result, keep: Callable[[Result], None]) -> None:
        self.result, self._keep = result, keep

    def add(self, run: FinishedRun) -> None:
        self.result = self.result.with_run(run)
        self._keep(self.result)

    def set_rates(self, rates: Mapping[str, float]) -> None:
        self.result = self.result.model_copy(update={"rates": rates})
        self._keep(self.result)

    def is_settled(self, run: PlannedRun, history: Sequence[EpochRow]) -> bool:
        """Whether a rate has reached the training error, or cannot be the fastest any more."""
        is_hopeless = not could_be_faster(run.arm, len(history), self.result.searched)
        return _is_reached(run, history) or is_hopeless


def could_be_faster(arm: str, num_epochs: int, searched: Sequence[FinishedRun]) -> bool:
    """Whether a run that has not reached the training error yet may be before others of its arm.

    What the next epoch's error is, is taken as that of its middle: it is reached after the middle
    of the last one.
    """
    others = [_epochs(run) for run in searched if run.arm == arm]
    return num_epochs - 0.5 < min(others, default=INFINITE)


def _is_reached(run: PlannedRun, history: Sequence[EpochRow]) -> bool:
    """Whether all that is to be measured of a run is how soon it reached the training error."""
    return run.measures == (Measure.EPOCHS,) and epochs_to_train_error(history) is not None


def _epochs(run: FinishedRun) -> float:
    reached = run.epochs_to_train_error
    return INFINITE if reached is None else reached


def choose_rates(experiment: Experiment, result: Result) -> dict[str, float]:
    """Return the rate of each arm that was the first to reach the training error."""
    rates = {}
    for arm in experiment.arms:
        own = [run for run in result.searched if run.arm == arm.name]
        best = min(own, key=lambda run: (_epochs(run), run.learning_rate))
        if best.epochs_to_train_error is None:
            raise TrainingError(
                f"{arm.name} reached 25 % training error with none of the rates "
                + ", ".join(f"{run.learning_rate:g}" for run in own),
                hint=f"train longer: alexnet reproduce {experiment.name} --output FOLDER"
                if result.terms.most_epochs
                else None,
                code="not_reached",
            )
        rates[arm.name] = best.learning_rate
    return rates


_TRIAL_IMAGES = 3_000
_OTHER_TIME = 1.1
"""Start, validation and test, as a factor of the time in training."""


def affordable_epochs(experiment: Experiment, terms: Terms, place: Place, *, minutes: float) -> int:
    """Return to how many epochs longer training must be shortened to fit; 0: all of it fits.

    Each network is timed on drawn images, as many runs at once as later on. Runs that end early,
    as those of a search do, leave some of the time.

    Args:
        experiment: The experiment.
        terms: Its seeds and data; what is shortened in it does not count.
        place: Where it will be carried out.
        minutes: The time there is.

    Raises:
        UsageError: Not even an epoch of each run fits.
    """
    terms = replace(terms, most_epochs=0)
    runs = [*plan_search(experiment, terms), *plan_seeds(experiment, terms, {})]
    at_once = place.at_once(len(runs))
    place = replace(place, jobs=at_once)
    image_seconds = {arm.name: _image_seconds(experiment, arm, place) for arm in experiment.arms}
    num_images = _num_images(terms)
    lengths = [(run.config.epochs, num_images * image_seconds[run.arm]) for run in runs]
    most_epochs = epochs_that_fit(lengths, at_once=at_once, minutes=minutes)
    if most_epochs == 0:
        needed = math.ceil(_minutes(lengths, 1, at_once=at_once))
        raise UsageError(
            f"an epoch of each of {len(runs)} runs does not fit into {minutes:g} minutes here",
            hint=f"give it more, --budget {needed}, or fewer --seeds",
        )
    return 0 if most_epochs >= max(epochs for epochs, _ in lengths) else most_epochs


def epochs_that_fit(lengths: Sequence[tuple[int, float]], *, at_once: int, minutes: float) -> int:
    """Return to how many epochs runs may be shortened at most; their longest, where all fits.

    Args:
        lengths: Of each run: its epochs, and the seconds of one as one of so many at once.
        at_once: Runs at once.
        minutes: The time there is.
    """
    longest = max(epochs for epochs, _ in lengths)
    fitting = range(1, longest + 1)
    return bisect.bisect_right(
        fitting, minutes, key=lambda n: _minutes(lengths, n, at_once=at_once)
    )


def _minutes(lengths: Sequence[tuple[int, float]], most_epochs: int, *, at_once: int) -> float:
    """Return what runs take that are shortened to so many epochs: the longest one at least."""
    seconds = [min(epochs, most_epochs) * each for epochs, each in lengths]
    return max(sum(seconds) / at_once, *seconds) * _OTHER_TIME / 60


def _image_seconds(experiment: Experiment, arm: Arm, place: Place) -> float:
    """Time an epoch of drawn images in as many runs at once as later on."""
    settings = {
        **arm.settings, "val_size": SHAPES_TRAIN_SIZE - _TRIAL_IMAGES, "epochs": 1,
        "schedule": Schedule.CONSTANT, "data": TRIAL_DATA,
    }  # fmt: skip
    trial = replace(experiment, arms=(Arm(arm.name, settings),), claims=())
    runs = [
        plan_run(trial, trial.arms[0], Terms(place.jobs), seed=number)
        for number in range(place.jobs)
    ]
    ended: list[FinishedRun] = []
    with temporary_folder() as folder:
        crew = Crew(replace(place, runs=folder), lambda _: None)
        crew.carry_out(runs, is_enough=lambda *_: False, keep=ended.append)
    column = LOG_COLUMNS.index("train_seconds")
    return sum(run.log[0][column] for run in ended) / len(ended) / _TRIAL_IMAGES


def _num_images(terms: Terms) -> int:
    """Return the images of an epoch."""
    train, _val = load_training(find_dataset(terms.data), val_size=1, seed=0)
    return len(train)
