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
from alexnet_cli.paper.experiments import Claim, Experiment, Measure

SEARCH_SEED = 0  # of the runs that choose a learning rate; the runs that count start at seed 1

DATA, TRIAL_DATA = "cifar10", "shapes"
# A trial of the command, which does not test the claims: the drawn images are learnt in seconds.
_TRIAL = {
    "data": TRIAL_DATA, "image_size": 24, "crop_size": 24, "batch_size": 64, "val_size": 1_000,
    "init": Init.HE, "input_scaling": InputScaling.STANDARD,
}  # fmt: skip
_NUM_TRIAL_RATES = 2  # of the learning rates to try, the highest


@dataclass(frozen=True)
class Protocol:
    """The extent of an experiment."""

    num_seeds: int  # of each arm, from 1 on
    data: str = DATA
    # Published trainings that are longer are shortened to this; 0 for no limit.
    max_epochs: Annotated[int, Field(alias="most_epochs")] = 0  # as result files call it

    @property
    def is_trial(self) -> bool:
        return self.data == TRIAL_DATA

    def command(self, experiment: str) -> str:
        data = ["--data", self.data] if self.is_trial else []
        epochs = ["--epochs", str(self.max_epochs)] if self.max_epochs else []
        seeds = ["--seeds", str(self.num_seeds)]
        return shlex.join(["alexnet", "reproduce", experiment, *data, *epochs, *seeds])


@dataclass(frozen=True)
class PlannedRun:
    """A training run of an arm."""

    arm: str
    settings: Mapping[str, Any]  # that differ from the network's published training, and the seed
    config: TrainConfig  # all settings
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
        return f"{self.arm}, seed {self.config.seed}, lr {self.config.learning_rate:g}"

    @property
    def flags(self) -> list[str]:
        flags = (option_flag(key.replace("_", "-"), each) for key, each in self.settings.items())
        return [part for flag in flags for part in flag.split(" ", 1)]

    @property
    def command(self) -> str:
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
    """Return the runs that count, all arms of a seed before the next seed."""
    return [
        plan_run(experiment, arm, protocol, seed=seed, learning_rate=learning_rates.get(arm))
        for seed in range(1, protocol.num_seeds + 1)
        for arm in experiment.arms
    ]


def plan_run(
    experiment: Experiment,
    arm: str,
    protocol: Protocol,
    *,
    seed: int,
    learning_rate: float | None = None,
) -> PlannedRun:
    """Return a run of an arm.

    Raises:
        UsageError: The settings contradict each other.
    """
    settings = {**experiment.arms[arm], **(_TRIAL if protocol.is_trial else {})}
    if learning_rate is not None:
        settings["learning_rate"] = learning_rate
    published, limit = _configure(settings), protocol.max_epochs
    if 0 < limit < published.epochs:
        # The epochs of a schedule in stages are shortened in `recipes.reconcile_recipe`.
        settings["epochs"] = limit
        if published.schedule is Schedule.PLATEAU:
            settings["patience"] = max(1, round(published.patience * limit / published.epochs))
    settings["seed"] = seed
    measures = tuple(each.measure for each in experiment.quantities if each.arm == arm)
    return PlannedRun(arm, settings, _configure(settings), measures)


def _configure(settings: Mapping[str, Any]) -> TrainConfig:
    """Complete settings as `alexnet train` does."""
    default = TrainConfig()
    model, data = settings.get("model", default.model), settings.get("data", default.data)
    recipe = reconcile_recipe(recipe_settings(Recipe.PAPER, model, data), settings)
    try:
        return TrainConfig(**{**recipe, **settings})
    except ValidationError as error:
        raise UsageError(
            f"the experiment's settings contradict each other: {error.errors()[0]['msg']}",
            hint="see: alexnet reproduce --help",
        ) from error


def num_epochs_published(experiment: Experiment, arm: str) -> int:
    return plan_run(experiment, arm, Protocol(1), seed=1).config.epochs


def is_shortened(experiment: Experiment, claim: Claim, protocol: Protocol) -> bool:
    """Return True if a claim is compared with a training shorter than the published one."""
    arms = {quantity.arm for quantity in claim.quantities}
    return any(0 < protocol.max_epochs < num_epochs_published(experiment, arm) for arm in arms)
