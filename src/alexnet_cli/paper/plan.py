"""The training runs that an experiment needs."""

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, ValidationError

from alexnet_cli.config.recipes import recipe_settings, reconcile_recipe
from alexnet_cli.config.schema import Init, InputScaling, Recipe, Schedule, TrainConfig
from alexnet_cli.errors import UsageError
from alexnet_cli.networks import option_flag
from alexnet_cli.paper.experiments import Arm, Claim, Experiment, Measure

SEARCH_SEED = 0
"""Seed of the runs that choose a learning rate; the runs that count have the seeds from 1 on."""

DATA, TRIAL_DATA = "cifar10", "shapes"
_TRIAL = {
    "data": TRIAL_DATA, "image_size": 24, "crop_size": 24, "batch_size": 64, "val_size": 1_000,
    "init": Init.HE, "input_scaling": InputScaling.STANDARD,
}  # fmt: skip
"""Settings with which a network learns the drawn images within seconds: a trial of the command that
does not test the claims."""
_NUM_TRIAL_RATES = 2  # of the learning rates to try, the highest


@dataclass(frozen=True)
class Protocol:
    """The extent of an experiment.

    Attributes:
        num_seeds: Seeds of each arm, from 1 on.
        data: Dataset.
        max_epochs: Published trainings that are longer are shortened to this; 0 for no limit.
    """

    num_seeds: int
    data: str = DATA
    max_epochs: Annotated[int, Field(alias="most_epochs")] = 0  # as result files call it

    @property
    def is_trial(self) -> bool:
        """True on drawn images, which do not test the claims."""
        return self.data == TRIAL_DATA

    def command(self, experiment: str) -> str:
        """Return the command that runs an experiment to this extent."""
        data = ["--data", self.data] if self.is_trial else []
        epochs = ["--epochs", str(self.max_epochs)] if self.max_epochs else []
        seeds = ["--seeds", str(self.num_seeds)]
        return shlex.join(["alexnet", "reproduce", experiment, *data, *epochs, *seeds])

    def shortens(self, num_epochs: int) -> bool:
        """Return True if a published training of this many epochs is shortened."""
        return 0 < self.max_epochs < num_epochs


@dataclass(frozen=True)
class PlannedRun:
    """A training run of an arm.

    Attributes:
        arm: Name of the arm.
        settings: Settings that differ from the network's published training, with the seed.
        config: All settings.
        measures: Measurements of the trained network.
    """

    arm: str
    settings: Mapping[str, Any]
    config: TrainConfig
    measures: tuple[Measure, ...]

    @property
    def key(self) -> str:
        """Hash of the settings that differ from the defaults, so that new settings keep it."""
        settings = self.config.model_dump(mode="json", exclude_defaults=True)
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    @property
    def name(self) -> str:
        """Name of the run folder; experiments with equal settings share it."""
        return f"{self.config.model}-seed{self.config.seed}-{self.key[:10]}"

    @property
    def label(self) -> str:
        """Name in messages."""
        return f"{self.arm}, seed {self.config.seed}, lr {self.config.learning_rate:g}"

    @property
    def flags(self) -> list[str]:
        """Arguments of `alexnet train`."""
        flags = []
        for key, value in self.settings.items():
            name = key.replace("_", "-")
            is_option = isinstance(value, bool)
            flags += [option_flag(name, value)] if is_option else [f"--{name}", str(value)]
        return flags

    @property
    def command(self) -> str:
        """The command that repeats the training."""
        return shlex.join(["alexnet", "train", *self.flags])


def plan_search(experiment: Experiment, protocol: Protocol) -> list[PlannedRun]:
    """Return the runs that choose each arm's learning rate; none if the learning rate is fixed.

    The middle learning rates come first. One of them is likely the fastest, and the other runs can
    stop as soon as they are slower.
    """
    rates = experiment.learning_rates
    rates = rates[-_NUM_TRIAL_RATES:] if protocol.is_trial else rates
    middle = (len(rates) - 1) / 2
    order = sorted(rates, key=lambda rate: abs(rates.index(rate) - middle))
    return [
        plan_run(experiment, arm, protocol, seed=SEARCH_SEED, learning_rate=rate)
        for rate in order
        for arm in experiment.arms
    ]


def plan_seeds(
    experiment: Experiment, protocol: Protocol, learning_rates: Mapping[str, float]
) -> list[PlannedRun]:
    """Return the runs that count, all arms of a seed before the next seed.

    Args:
        experiment: The experiment.
        protocol: Its extent.
        learning_rates: The learning rates that the search chose, by arm.
    """
    return [
        plan_run(
            experiment, arm, protocol, seed=seed, learning_rate=learning_rates.get(arm.name)
        )
        for seed in range(1, protocol.num_seeds + 1)
        for arm in experiment.arms
    ]  # fmt: skip


def plan_run(
    experiment: Experiment,
    arm: Arm,
    protocol: Protocol,
    *,
    seed: int,
    learning_rate: float | None = None,
) -> PlannedRun:
    """Return a run of an arm.

    Raises:
        UsageError: The settings contradict each other.
    """
    settings = {**arm.settings, **(_TRIAL if protocol.is_trial else {})}
    if learning_rate is not None:
        settings["learning_rate"] = learning_rate
    published = _configure(settings)
    if protocol.shortens(published.epochs):
        # The epochs of a schedule in stages are shortened in `recipes.reconcile_recipe`.
        settings["epochs"] = protocol.max_epochs
        if published.schedule is Schedule.PLATEAU:
            patience = round(published.patience * protocol.max_epochs / published.epochs)
            settings["patience"] = max(1, patience)
    settings["seed"] = seed
    return PlannedRun(arm.name, settings, _configure(settings), experiment.measures_of(arm))


def _configure(settings: Mapping[str, Any]) -> TrainConfig:
    """Complete settings as `alexnet train` does."""
    model, data = (
        settings.get(name, TrainConfig.model_fields[name].default) for name in ("model", "data")
    )
    recipe = reconcile_recipe(recipe_settings(Recipe.PAPER, model, data), settings)
    try:
        return TrainConfig(**{**recipe, **settings})
    except ValidationError as error:
        raise UsageError(
            f"the experiment's settings contradict each other: {error.errors()[0]['msg']}",
            hint="see: alexnet reproduce --help",
        ) from error


def num_epochs_published(experiment: Experiment, arm: Arm) -> int:
    """Return the epochs of an arm's published training."""
    return plan_run(experiment, arm, Protocol(1), seed=1).config.epochs


def is_shortened(experiment: Experiment, claim: Claim, protocol: Protocol) -> bool:
    """Return True if a claim is compared with a training shorter than the published one."""
    names = {quantity.arm for quantity in claim.quantities}
    arms = [arm for arm in experiment.arms if arm.name in names]
    return any(protocol.shortens(num_epochs_published(experiment, arm)) for arm in arms)
