"""Checks of values that a user writes into the configuration.

The configuration of a training run: each default, bound and meaning once, beside its field.

The command's flags, their help, the configuration file and its checks are made from this class.
The numbers are the paper's (§5) unless a description says otherwise.
"""

import hashlib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from alexnet_cli.manifest import data_name
from alexnet_cli.networks import OPTIONS, PRETRAINED, Activation, Kernels, Network, Pool


def weights_name(value: str) -> str:
    """Make a path absolute, so that the configuration means the same in another folder."""
    if not value or value in PRETRAINED or not Path(value).exists():
        return value
    return str(Path(value).resolve())


def epochs_in_order(value: str) -> str:
    """Refuse what are not numbers of epochs in order."""
    epochs = value.split(",") if value else []
    is_plain = all(epoch.isascii() and epoch.isdecimal() and epoch[0] != "0" for epoch in epochs)
    if not is_plain or epochs != sorted(set(epochs), key=int):
        reason = "takes numbers of epochs separated by commas, in order, each once"
        raise refused(reason, "write them as in --schedule stages --drop-epochs 120,130")
    return value


def refused(reason: str, hint: str) -> PydanticCustomError:
    """Return the error of a check, with what helps."""
    return PydanticCustomError("refused", "{reason}", {"reason": reason, "hint": hint})


class Schedule(StrEnum):
    """How the learning rate changes."""

    PLATEAU = "plateau"
    STAGES = "stages"
    INVERSE_TIME = "inverse-time"
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
    ORIGINAL = "original"
    FAST = "fast"


class Init(StrEnum):
    """Initial weights."""

    HE = "he"
    PAPER = "paper"
    RELEASED = "released"


class MomentumKind(StrEnum):
    """Where the gradient is taken: here, or ahead by the momentum."""

    CLASSICAL = "classical"
    NESTEROV = "nesterov"


class InputScaling(StrEnum):
    """What the network sees of a pixel."""

    STANDARD = "standard"
    CENTRED = "centred"


class Freeze(StrEnum):
    """Which weights stay as they are."""

    NOTHING = "nothing"
    FEATURES = "features"


class TrainConfig(BaseModel):
    """Everything that determines a run's result, and nothing else.

    A field has the name of its flag.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Annotated[
        str,
        AfterValidator(data_name),
        Field(
            description="Dataset: cifar10, cifar100, shapes, or a folder of train/, val/ and "
            "test/CLASS/."
        ),
    ] = "cifar10"
    model: Annotated[
        Network, Field(description="Network to train; they are listed by: alexnet models.")
    ] = Network.ALEXNET_CIFAR
    recipe: Annotated[
        Recipe,
        Field(
            description="Defaults of the other settings: the paper's; original: with the start "
            "of the released source; fast: 15 epochs in place of 90."
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
    momentum_kind: Annotated[
        MomentumKind,
        Field(description="classical: the paper's; nesterov: Sutskever et al. 2013."),
    ] = MomentumKind.CLASSICAL
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
    bias_rate_factor: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            allow_inf_nan=False,
            description="Rate of biases as a multiple of the weights'; 2 in the released source.",
        ),
    ] = 1.0
    bias_decay: Annotated[
        bool,
        Field(description="Whether biases decay as weights do; not so in the released source."),
    ] = True
    dropout: Annotated[
        float, Field(ge=0, lt=1, description="Share of hidden units zeroed in fc6 and fc7.")
    ] = 0.5
    activation: Annotated[Activation, Field(description="What follows a hidden layer.")] = (
        Activation.RELU
    )
    lrn: Annotated[
        bool | None,
        Field(description="Local response normalisation; by default as the network has it."),
    ] = None
    pool: Annotated[
        Pool, Field(description="Pooling windows: 3x3 (overlapping) or 2x2 (plain), stride 2.")
    ] = Pool.OVERLAPPING
    groups: Annotated[
        int,
        Field(ge=0, le=2, description="Towers of the convolutions; 0: as the network has them."),
    ] = 0
    kernels: Annotated[
        Kernels,
        Field(
            description="Kernels of the convolutions before the last: all, or half, as in the "
            "paper's network for one GPU."
        ),
    ] = Kernels.ALL
    init: Annotated[
        Init,
        Field(
            description="Initial weights: He's, the paper's N(0, 0.01) with biases of 1, or those "
            "of the released source; the latter two need --input-scaling centred. alexnet-cifar "
            "has the released ones on CIFAR-10, unless another is chosen."
        ),
    ] = Init.HE
    input_scaling: Annotated[
        InputScaling,
        Field(
            description="Pixels with mean 0 and standard deviation 1 by channel (standard), or "
            "0-255 less the mean, as in the paper (centred)."
        ),
    ] = InputScaling.STANDARD
    from_weights: Annotated[
        str,
        AfterValidator(weights_name),
        Field(
            description="Start from trained weights: owt (see download --weights), a run folder, "
            "or an exported .safetensors file; a head of other classes is drawn anew."
        ),
    ] = ""
    freeze: Annotated[Freeze, Field(description="Weights to leave as they are.")] = Freeze.NOTHING
    ema_decay: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="Share of a running average of the weights that stays at an update, such "
            "as 0.999; it is validated and kept in place of the weights. 0: no average.",
        ),
    ] = 0.0
    schedule: Annotated[
        Schedule,
        Field(
            description="Learning rate: divided by 10 on a plateau of the validation accuracy, "
            "or after given epochs (stages), inverse in time, linear to zero, or constant."
        ),
    ] = Schedule.PLATEAU
    warmup_epochs: Annotated[
        float,
        Field(
            ge=0,
            le=100_000,
            allow_inf_nan=False,
            description="Epochs in which the rate rises linearly.",
        ),
    ] = 0.0
    label_smoothing: Annotated[
        float,
        Field(ge=0, lt=1, description="Share of each target spread evenly over all classes."),
    ] = 0.0
    patience: Annotated[
        int, Field(ge=1, description="Epochs without a better validation top-1 before a division.")
    ] = 10
    max_drops: Annotated[
        int, Field(ge=0, le=10, description="Divisions of the rate by the plateau schedule.")
    ] = 3
    drop_epochs: Annotated[
        str,
        AfterValidator(epochs_in_order),
        Field(
            max_length=100,
            description="Epochs after which the stages schedule divides the rate, as in 120,130.",
        ),
    ] = ""
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
            "0: the network's own, or 7/8 of the image size.",
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
        int,
        Field(
            ge=0,
            le=64,
            description="Zero pixels around the image before random crops; alexnet-cifar has 2 on "
            "CIFAR-10, unless another number is chosen.",
        ),
    ] = 0
    flip: Annotated[bool, Field(description="Mirror half of the training images.")] = True
    colour_noise: Annotated[
        float,
        Field(
            ge=0,
            le=10,
            description="Standard deviation of colour changes along the principal components of "
            "the training set's colours, as a share of theirs (paper §4.1).",
        ),
    ] = 0.1
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
    def _settings_agree(self) -> Self:
        if self.momentum_kind is MomentumKind.NESTEROV and not self.momentum:
            raise ValueError("momentum_kind nesterov needs a momentum above 0")
        if (self.schedule is Schedule.STAGES) != bool(self.drop_epochs):
            reason = "schedule stages and drop_epochs need each other"
            raise refused(reason, "give both, --schedule stages --drop-epochs 120,130, or neither")
        if self.stages and self.stages[-1] > self.epochs:
            reason = f"drop_epochs {self.drop_epochs} go beyond the {self.epochs} epochs"
            raise refused(reason, f"choose --drop-epochs up to {self.epochs}, or more --epochs")
        if self.freeze is not Freeze.NOTHING and not self.from_weights:
            raise ValueError("freeze needs from_weights: fresh weights have to learn")
        is_fresh = self.init is Init.HE and self.input_scaling is InputScaling.STANDARD
        if self.from_weights and not is_fresh:
            raise ValueError("from_weights brings its own start: leave init and input_scaling out")
        return self

    @property
    def stages(self) -> tuple[int, ...]:
        """`drop_epochs` as numbers."""
        return tuple(int(epoch) for epoch in self.drop_epochs.split(",") if epoch)

    @property
    def network_options(self) -> dict[str, Any]:
        """The architecture options for `network_spec`; None is the network's own value."""
        return {name: getattr(self, name) for name in OPTIONS} | {"groups": self.groups or None}

    def sha256(self) -> str:
        """Return a hash that is equal exactly when every field is."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()
