"""How much of a protocol fits into a number of minutes, by the speed of this machine."""

import bisect
import math
from collections.abc import Sequence
from dataclasses import replace

from alexnet_cli.config import Schedule
from alexnet_cli.data.catalog import SHAPES_TRAIN_SIZE, find_dataset, load_training
from alexnet_cli.errors import UsageError
from alexnet_cli.files import temporary_folder
from alexnet_cli.reproduce.crew import Crew, Place
from alexnet_cli.reproduce.experiment import Arm, Experiment
from alexnet_cli.reproduce.plan import (
    TRIAL_DATA,
    Terms,
    plan_run,
    plan_search,
    plan_seeds,
)
from alexnet_cli.reproduce.result import LOG_COLUMNS, FinishedRun

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
