"""The configuration of a training run: each default, bound and meaning once, beside its field.

The command's flags, their help, the configuration file and its checks are made from this class.
The numbers are the paper's (§5) unless a description says otherwise.
"""

import hashlib
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from alexnet_cli.manifest import Network


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


class TrainConfig(BaseModel):
    """Everything that determines a run's result, and nothing else.

    A field has the name of its flag.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Annotated[str, Field(description="Dataset: cifar10 or shapes.")] = "cifar10"
    model: Annotated[Network, Field(description="Network to train.")] = Network.ALEXNET_CIFAR
    epochs: Annotated[int, Field(ge=1, le=100_000, description="Passes over the training set.")] = (
        90
    )
    batch_size: Annotated[int, Field(ge=1, le=65_536, description="Images per update.")] = 128
    learning_rate: Annotated[
        float, Field(gt=0, le=100, allow_inf_nan=False, description="Initial learning rate.")
    ] = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1, description="Momentum of SGD.")] = 0.9
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

    def sha256(self) -> str:
        """Return a hash that is equal exactly when every field is."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


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
