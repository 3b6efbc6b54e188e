"""Recipes: sets of defaults for the other settings, by network and data."""

from collections.abc import Mapping
from typing import Any

from alexnet_cli.config.schema import (
    Init,
    InputScaling,
    MomentumKind,
    Recipe,
    Schedule,
    TrainConfig,
)
from alexnet_cli.errors import UsageError
from alexnet_cli.networks import RELEASED_START, Kernels, Network

VERIFY_SETTINGS: dict[str, Any] = {
    "data": "shapes", "image_size": 12, "crop_size": 8, "val_size": 8_000, "epochs": 3,
    "batch_size": 16, "patience": 1, "ema_decay": 0.99,
}  # fmt: skip
"""Defaults of `alexnet verify-resume`: some seconds with everything that a resume restores."""


def recipe_settings(recipe: Recipe, model: Network, data: str) -> dict[str, Any]:
    """Return the settings in which a recipe differs from the defaults.

    `paper` is the published training. `original` has the initial weights, the inputs, and the
    learning rate and decay of biases of the released source. `fast` has a high accuracy in 15
    epochs: Muon and the size of the learning rate were chosen on validation data, in single runs of
    one to three epochs of `alexnet-cifar`; the other numbers are customary and were not tuned.
    `benchmarks/time_to_accuracy.py` measures its accuracy.

    Raises:
        UsageError: The network has no such recipe.
    """
    training = dict(model.info.training)
    if data == "cifar10":
        training |= model.info.cifar10_training
    if recipe is Recipe.PAPER:
        return training
    if recipe is Recipe.ORIGINAL:
        return {**RELEASED_START, **training}
    if not model.info.has_dropout:
        raise UsageError(
            f"there is no fast recipe for {model}",
            hint="use --recipe paper, or --model alexnet-cifar",
        )
    settings: dict[str, Any] = {
        "epochs": 15,
        "learning_rate": 0.04,
        "momentum_kind": MomentumKind.NESTEROV,
        "muon_rate": 0.02,
        "schedule": Schedule.LINEAR,
        "warmup_epochs": 1.5,
        "label_smoothing": 0.1,
        "dropout": 0.3,
        "colour_noise": 0.0,
    }
    if model in (Network.ALEXNET_CIFAR, Network.ALEXNET_CIFAR_BN):
        settings |= {"crop_size": 28, "early_crop_size": 24}
    if model is Network.ALEXNET_CIFAR_BN:
        settings["learning_rate"] = 0.08
    return settings


def recipe_fields() -> frozenset[str]:
    """Return the settings whose default depends on recipe, network or data."""
    return frozenset(
        name
        for model in Network
        for recipe in Recipe
        if recipe is not Recipe.FAST or model.info.has_dropout
        for name in recipe_settings(recipe, model, "cifar10")
    )


def reconcile_recipe(recipe: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a recipe that agree with the user's own.

    The crops of a recipe are for its own image and crop size; its initial weights and its input
    scaling are for each other. Stages are scaled to another number of epochs, and left out with
    another schedule.
    """
    if own.keys() & {"image_size", "crop_size"}:
        recipe = _without(recipe, "crop_size", "early_crop_size", "pad")
    if own.get("init") == Init.HE:
        recipe = _without(recipe, "input_scaling")
    if own.get("input_scaling") == InputScaling.STANDARD:
        recipe = _without(recipe, "init")
    if not recipe.get("drop_epochs") or "drop_epochs" in own:
        return recipe
    if own.get("schedule", Schedule.STAGES) != Schedule.STAGES:
        return {**recipe, "drop_epochs": ""}
    factor = own.get("epochs", recipe["epochs"]) / recipe["epochs"]
    stages = {max(1, round(int(epoch) * factor)) for epoch in recipe["drop_epochs"].split(",")}
    return {**recipe, "drop_epochs": ",".join(map(str, sorted(stages)))}


def _without(recipe: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in recipe.items() if name not in names}


def describe_quicker_recipe(config: TrainConfig) -> str:
    """Return how many epochs the recipe `fast` takes, or nothing where it is not for a run."""
    is_paper = config.recipe is Recipe.PAPER and not config.from_weights
    if not is_paper or not config.model.info.has_dropout:
        return ""
    epochs = recipe_settings(Recipe.FAST, config.model, config.data)["epochs"]
    return f"--recipe fast takes {epochs} epochs" if epochs < config.epochs else ""


def demo_config() -> TrainConfig:
    """Return the settings of `alexnet demo`: it learns shapes in about a minute on two cores.

    Half the kernels are enough for shapes, and take a third of the time. Muon needs two epochs
    where plain SGD needed three.
    """
    return TrainConfig(
        data="shapes",
        epochs=2,
        batch_size=64,
        learning_rate=0.03,
        momentum_kind=MomentumKind.NESTEROV,
        muon_rate=0.02,
        schedule=Schedule.LINEAR,
        warmup_epochs=1.5,
        dropout=0.1,
        kernels=Kernels.HALF,
        image_size=20,
        crop_size=20,  # the entire image: some shapes reach to its edge
        val_size=2_500,
        flip=False,
        colour_noise=0.0,
    )
