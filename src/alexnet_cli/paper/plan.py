"""From an experiment to the runs that it takes."""

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from alexnet_cli.config.recipes import adapted, recipe_settings
from alexnet_cli.config.schema import Init, InputScaling, Recipe, Schedule, TrainConfig
from alexnet_cli.errors import UsageError
from alexnet_cli.networks import option_flag
from alexnet_cli.paper.experiments import Arm, Claim, Experiment, Measure

SEARCH_SEED = 0
"""Of the runs that choose a rate; those that count have the seeds from 1 on."""


DATA = ("cifar10", "shapes")
TRIAL_DATA = DATA[1]
TRIAL = {
    "image_size": 24, "crop_size": 24, "batch_size": 64, "val_size": 1_000,
    "init": Init.HE, "input_scaling": InputScaling.STANDARD,
}  # fmt: skip
"""On drawn images an experiment is a trial of the command, not of the claim: settings with which
a network learns them within seconds take the place of the arm's."""
TRIAL_RATES = 2  # of those searched, the highest


@dataclass(frozen=True)
class PlannedRun:
    """One training of an arm.

    Attributes:
        arm: The arm's name.
        settings: What differs from the network's published training, the seed included.
        config: All settings.
        measures: What to measure in the end.
    """

    arm: str
    settings: Mapping[str, Any]
    config: TrainConfig
    measures: tuple[Measure, ...]

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self.config.seed

    @property
    def key(self) -> str:
        """Hash of the settings that differ from the defaults: a new setting does not change it."""
        settings = self.config.model_dump(mode="json", exclude_defaults=True)
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    @property
    def name(self) -> str:
        """Of its run folder: the same settings, the same folder, whichever experiment asks."""
        return f"{self.config.model}-seed{self.seed}-{self.key[:10]}"

    @property
    def label(self) -> str:
        """What to call it while it is carried out."""
        return f"{self.arm}, seed {self.seed}, rate {self.config.learning_rate:g}"

    @property
    def flags(self) -> list[str]:
        """What `alexnet train` takes for it."""
        return [word for key, value in self.settings.items() for word in _flag(key, value)]

    @property
    def command(self) -> str:
        """What repeats its training."""
        return shlex.join(["alexnet", "train", *self.flags])


@dataclass(frozen=True)
class Terms:
    """How an experiment is carried out.

    Attributes:
        num_seeds: Seeds of each arm, from 1 on.
        data: Dataset.
        most_epochs: A published training that is longer is shortened to so many; 0: none is.
    """

    num_seeds: int
    data: str = DATA[0]
    most_epochs: int = 0

    @property
    def is_trial(self) -> bool:
        """Whether it is on drawn images, and about no claim."""
        return self.data == TRIAL_DATA

    def command(self, experiment: str) -> str:
        """Return what carries an experiment out on these terms."""
        data = ["--data", self.data] if self.is_trial else []
        epochs = ["--epochs", str(self.most_epochs)] if self.most_epochs else []
        seeds = ["--seeds", str(self.num_seeds)]
        return shlex.join(["alexnet", "reproduce", experiment, *data, *epochs, *seeds])

    def shortens(self, num_epochs: int) -> bool:
        """Whether a training of so many epochs is shortened."""
        return 0 < self.most_epochs < num_epochs


def plan_search(experiment: Experiment, terms: Terms) -> list[PlannedRun]:
    """Return the runs that choose each arm's learning rate; none where the rates are given.

    The middle rates come first: they are the likeliest, and the others can then stop early.
    """
    rates = experiment.rates[-TRIAL_RATES:] if terms.is_trial else experiment.rates
    middle = (len(rates) - 1) / 2
    order = sorted(rates, key=lambda rate: abs(rates.index(rate) - middle))
    return [
        plan_run(experiment, arm, terms, seed=SEARCH_SEED, rate=rate)
        for rate in order
        for arm in experiment.arms
    ]


def plan_seeds(
    experiment: Experiment, terms: Terms, rates: Mapping[str, float]
) -> list[PlannedRun]:
    """Return the runs that count, seed by seed: as many of one arm as of another at any time.

    Args:
        experiment: The experiment.
        terms: How it is carried out.
        rates: The learning rates that were chosen, by arm.
    """
    return [
        plan_run(experiment, arm, terms, seed=seed, rate=rates.get(arm.name))
        for seed in range(1, terms.num_seeds + 1)
        for arm in experiment.arms
    ]


def plan_run(
    experiment: Experiment, arm: Arm, terms: Terms, *, seed: int, rate: float | None = None
) -> PlannedRun:
    """Return one run of an arm.

    Raises:
        UsageError: The settings do not go together, as with other data than the experiment's.
    """
    settings = dict(arm.settings)
    if terms.is_trial:
        settings |= {"data": terms.data, **TRIAL}
    if rate is not None:
        settings["learning_rate"] = rate
    published = _configure(settings)
    if terms.shortens(published.epochs):
        settings |= _shortened(published, terms.most_epochs)
    settings["seed"] = seed
    return PlannedRun(arm.name, settings, _configure(settings), experiment.measures_of(arm))


def _shortened(config: TrainConfig, epochs: int) -> dict[str, int]:
    """Return fewer epochs, and as much less patience where the rate waits for a plateau.

    The epochs of a schedule in stages are shortened with them (`recipes.adapted`).
    """
    if config.schedule is not Schedule.PLATEAU:
        return {"epochs": epochs}
    return {"epochs": epochs, "patience": max(1, round(config.patience * epochs / config.epochs))}


def num_epochs_published(experiment: Experiment, arm: Arm) -> int:
    """Return the epochs of an arm's whole protocol."""
    return plan_run(experiment, arm, Terms(1), seed=1).config.epochs


def is_shortened(experiment: Experiment, claim: Claim, terms: Terms) -> bool:
    """Whether a claim is held against a training that is shorter than the published one."""
    names = {side.arm for side in claim.sides}
    arms = [arm for arm in experiment.arms if arm.name in names]
    return any(terms.shortens(num_epochs_published(experiment, arm)) for arm in arms)


def _configure(settings: Mapping[str, Any]) -> TrainConfig:
    """Fill in the rest as `alexnet train` does."""
    model, data = (
        settings.get(name, TrainConfig.model_fields[name].default) for name in ("model", "data")
    )
    protocol = adapted(recipe_settings(Recipe.PAPER, model, data), settings)
    try:
        return TrainConfig(**{**protocol, **settings})
    except ValidationError as error:
        raise UsageError(
            f"the experiment's settings do not go together: {error.errors()[0]['msg']}",
            hint="see: alexnet reproduce --help",
        ) from error


def _flag(key: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [option_flag(key.replace("_", "-"), value)]
    return [f"--{key.replace('_', '-')}", str(value)]
