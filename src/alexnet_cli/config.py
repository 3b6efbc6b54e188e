"""The configuration of a training run: each default, bound and meaning once, beside its field.

The command's flags, their help, the configuration file and its checks are made from this class.
The numbers are the paper's (§5) unless a description says otherwise.
"""

import hashlib
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from alexnet_cli.manifest import Network, data_name


class Schedule(StrEnum):
    """How the learning rate changes."""

    PLATEAU = "plateau"
    LINEAR = "linear"
    CONSTANT = "constant"


class Precision(StrEnum):
    """Number format of the forward and backward pass; weights stay float32."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


class Recipe(StrEnum):
    """A set of defaults for the other settings."""

    PAPER = "paper"
    FAST = "fast"


class TrainConfig(BaseModel):
    """Everything that determines a run's result, and nothing else.

    A field has the name of its flag.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Annotated[
        str,
        AfterValidator(data_name),
        Field(
            description="Dataset: cifar10, shapes, or a folder with train/CLASS/ and test/CLASS/."
        ),
    ] = "cifar10"
    model: Annotated[Network, Field(description="Network to train.")] = Network.ALEXNET_CIFAR
    recipe: Annotated[
        Recipe,
        Field(
            description="Defaults of the other settings: the paper's, or fast: 15 epochs in place "
            "of 90."
        ),
    ] = Recipe.PAPER
    epochs: Annotated[int, Field(ge=1, le=100_000, description="Passes over the training set.")] = (
        90
    )
    batch_size: Annotated[int, Field(ge=1, le=65_536, description="Images per update.")] = 128
    micro_batch_size: Annotated[
        int,
        Field(
            ge=0,
            le=65_536,
            description="Images in memory at once, their gradients summed to the batch's; "
            "0: the whole batch, or a process's share of it.",
        ),
    ] = 0
    learning_rate: Annotated[
        float, Field(gt=0, le=100, allow_inf_nan=False, description="Initial learning rate.")
    ] = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1, description="Momentum of SGD.")] = 0.9
    nesterov: Annotated[bool, Field(description="Nesterov's momentum (Sutskever et al. 2013).")] = (
        False
    )
    muon_rate: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Initial step of hidden convolutions by Muon, as a share of their norm; "
            "0: SGD for all weights.",
        ),
    ] = 0.0
    weight_decay: Annotated[float, Field(ge=0, le=1, description="L2 penalty.")] = 5e-4
    dropout: Annotated[
        float, Field(ge=0, lt=1, description="Share of hidden units zeroed in fc6 and fc7.")
    ] = 0.5
    schedule: Annotated[
        Schedule,
        Field(
            description="Learning rate: divided by 10 on a plateau of the validation accuracy, "
            "linear to zero, or constant."
        ),
    ] = Schedule.PLATEAU
    warmup_epochs: Annotated[
        float,
        Field(
            ge=0,
            le=100_000,
            allow_inf_nan=False,
            description="Epochs in which the rate rises linearly from zero.",
        ),
    ] = 0.0
    label_smoothing: Annotated[
        float,
        Field(ge=0, lt=1, description="Share of each target spread evenly over all classes."),
    ] = 0.0
    patience: Annotated[
        int, Field(ge=1, description="Epochs without a better validation top-1 before a division.")
    ] = 8
    max_drops: Annotated[
        int, Field(ge=0, le=10, description="Divisions of the rate by the plateau schedule.")
    ] = 3
    image_size: Annotated[
        int,
        Field(ge=0, le=1024, description="Side to resize images to, in pixels; 0: as they are."),
    ] = 0
    crop_size: Annotated[
        int,
        Field(
            ge=0,
            le=1024,
            description="Side of the crops the network sees, in pixels; "
            "0: the paper's 7/8 of the image size.",
        ),
    ] = 0
    early_crop_size: Annotated[
        int,
        Field(
            ge=0,
            le=1024,
            description="Side of the crops in the first two thirds of the epochs, in pixels: "
            "smaller is cheaper; 0: as later.",
        ),
    ] = 0
    pad: Annotated[
        int, Field(ge=0, le=64, description="Zero pixels around the image before random crops.")
    ] = 0
    flip: Annotated[bool, Field(description="Mirror half of the training images.")] = True
    val_size: Annotated[
        int, Field(ge=1, description="Training images held out for validation.")
    ] = 5_000
    seed: Annotated[
        int,
        Field(ge=0, lt=2**31, description="Fixes split, initial weights, order, crops, dropout."),
    ] = 0
    precision: Annotated[
        Precision, Field(description="auto: bf16 where the hardware is fast at it, else fp32.")
    ] = Precision.AUTO

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if self.image_size and self.crop_size > self.image_size:
            raise ValueError(
                f"crop_size {self.crop_size} is larger than image_size {self.image_size}"
            )
        return self

    @model_validator(mode="after")
    def _momentum_for_nesterov(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self

    def sha256(self) -> str:
        """Return a hash that is equal exactly when every field is."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def recipe_settings(recipe: Recipe, model: Network) -> dict[str, Any]:
    """Return the settings in which a recipe differs from the defaults.

    Of `fast`, Muon and the order of the rate were chosen on validation data, in single runs of one
    to three epochs of `alexnet-cifar`; the other numbers are customary ones and were not searched.
    What it reaches is measured by `benchmarks/time_to_accuracy.py`.
    """
    if recipe is Recipe.PAPER:
        return {}
    settings: dict[str, Any] = {
        "epochs": 15,
        "learning_rate": 0.04,
        "nesterov": True,
        "muon_rate": 0.02,
        "schedule": Schedule.LINEAR,
        "warmup_epochs": 1.5,
        "label_smoothing": 0.1,
        "dropout": 0.3,
    }
    if model is not Network.ALEXNET:
        settings["early_crop_size"] = 24
    if model is Network.ALEXNET_CIFAR_BN:
        settings["learning_rate"] = 0.08
    return settings


def demo_config() -> TrainConfig:
    """Return the settings of `alexnet demo`: shapes, learned within a minute on two cores."""
    return TrainConfig(
        data="shapes",
        epochs=3,
        batch_size=32,  # many small steps: 700 are enough to learn ten shapes
        learning_rate=0.02,
        dropout=0.1,
        schedule=Schedule.LINEAR,
        image_size=24,
        crop_size=24,  # the whole image: some shapes reach to its edge
        val_size=2_500,
        flip=False,
    )
