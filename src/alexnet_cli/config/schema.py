"""The settings of a training run: everything about a hyper-parameter in one place, its field.

A field holds type, bounds, default, and how it appears on the command line; the string below it is
its help text. The flags, the configuration file, the environment variables and the JSON schema are
made from this class. The defaults are the paper's (§5) unless a help text says otherwise.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from alexnet_cli.manifest import data_name
from alexnet_cli.networks import OPTIONS, PRETRAINED, Activation, Kernels, Network, Pool

PREFIX = "ALEXNET_"  # of environment variables


class Schedule(StrEnum):
    """Learning rate schedule."""

    PLATEAU = "plateau"
    STAGES = "stages"
    INVERSE_TIME = "inverse-time"
    LINEAR = "linear"
    COSINE = "cosine"
    CONSTANT = "constant"


class Precision(StrEnum):
    """Number format of the forward and backward pass; weights stay float32."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


class Recipe(StrEnum):
    """Set of defaults for the other settings."""

    PAPER = "paper"
    ORIGINAL = "original"
    FAST = "fast"


class Init(StrEnum):
    """Initial weights."""

    HE = "he"
    PAPER = "paper"
    RELEASED = "released"


class MomentumKind(StrEnum):
    """Classical or Nesterov momentum."""

    CLASSICAL = "classical"
    NESTEROV = "nesterov"


class InputScaling(StrEnum):
    """Scaling of the pixels before the network."""

    STANDARD = "standard"
    CENTRED = "centred"


class ClassWeights(StrEnum):
    """Weights of the classes in the training loss."""

    NONE = "none"
    BALANCED = "balanced"


class Freeze(StrEnum):
    """Weights that are not trained."""

    NOTHING = "nothing"
    FEATURES = "features"


class Panel(StrEnum):
    """Headings of the help, in their order."""

    GENERAL = "What to train"
    OPTIMIZER = "Batches and optimizer"
    SCHEDULE = "Learning rate over time"
    NETWORK = "Network"
    INIT = "Initial weights"
    IMAGES = "Images"


@dataclass(frozen=True)
class Flag:
    """A field on the command line."""

    panel: Panel  # heading of the help
    also: str = ""  # another spelling of the flag
    default: str = ""  # in the help, for a default that depends on network or data
    # It may change when a run is resumed with `--allow-drift`, because it acts on the updates to
    # come. The others determine the network, the data or their order.
    can_change: bool = False


def _absolute_path(value: str) -> str:
    """Make the path of weights absolute, so that it means the same in another folder."""
    if not value or value in PRETRAINED or not Path(value).exists():
        return value
    return str(Path(value).resolve())


def _require_epochs(value: str) -> str:
    epochs = value.split(",") if value else []
    is_plain = all(epoch.isascii() and epoch.isdecimal() and epoch[0] != "0" for epoch in epochs)
    if not is_plain or epochs != sorted(set(epochs), key=int):
        reason = "takes numbers of epochs separated by commas, in order, each once"
        raise _refusal(reason, "write them as in --schedule stages --drop-epochs 120,130")
    return value


def _require_val_size(value: float | None) -> float | None:
    """Return a number of images as an int, a fraction as it is."""
    if value is None or 0 < value < 1:
        return value
    if value < 1 or value != value // 1:  # nor NaN nor infinity: no integer equals them
        reason = "takes a number of images, or a fraction below 1"
        raise _refusal(reason, "--val-size 100, or --val-size 0.1; without it, a tenth is held out")
    return int(value)


def _require_text(path: str) -> str:
    """Refuse a path with bytes that are not UTF-8: a configuration file is text."""
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise _refusal(
            "takes a path in UTF-8, which this is not",
            "rename its folders or files, or choose a UTF-8 locale: export LC_ALL=C.UTF-8",
        ) from error
    return path


def _refusal(reason: str, hint: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{reason}", {"reason": reason, "hint": hint})


_COUNT = {"type": "integer", "minimum": 1}
_SHARE_BELOW_1 = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
_Images = Annotated[int, Field(ge=0, le=65_536)]
_Pixels = Annotated[int, Field(ge=0, le=1024)]
_Fraction = Annotated[float, Field(ge=0, lt=1)]
_Share = Annotated[float, Field(ge=0, le=1)]


class TrainConfig(BaseModel):
    """Everything that determines the result of a run, and nothing else."""

    # A default here holds unless the recipe has another: `recipes.py`, and by network and data
    # `training` and `cifar10_training` in `networks.py`.

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    data: Annotated[
        str, AfterValidator(data_name), AfterValidator(_require_text), Flag(Panel.GENERAL)
    ] = "cifar10"
    """Dataset: cifar10, cifar100, shapes, or a folder with train/, val/ and test/CLASS/."""
    model: Annotated[Network, Flag(Panel.GENERAL, also="-m")] = Network.ALEXNET_CIFAR
    """Network to train; for a list: alexnet models."""
    recipe: Annotated[Recipe, Flag(Panel.GENERAL)] = Recipe.PAPER
    """Defaults of the other settings. paper: the published training, 90 epochs. original: the
    same, with initial weights, inputs and bias settings of the released source. fast: 15 epochs
    with Muon, for a good result quickly."""
    epochs: Annotated[int, Field(ge=1, le=100_000), Flag(Panel.GENERAL, can_change=True)] = 90
    """Passes over the training set."""
    stop_after: Annotated[int, Field(ge=0, le=100_000), Flag(Panel.GENERAL, can_change=True)] = 0
    """Stop early, after N epochs without a better val accuracy; 0 = never. Keep it above
    --patience, else the plateau schedule never drops the learning rate."""
    batch_size: Annotated[int, Field(ge=1, le=65_536), Flag(Panel.OPTIMIZER, also="-b")] = 128
    """Images per update."""
    micro_batch_size: Annotated[_Images, Flag(Panel.OPTIMIZER, can_change=True)] = 0
    """Micro-batch size (gradient accumulation); 0 = entire batch."""
    learning_rate: Annotated[
        float,
        Field(gt=0, le=100, allow_inf_nan=False),
        Flag(Panel.OPTIMIZER, also="--lr", can_change=True),
    ] = 0.01
    """Initial learning rate."""
    momentum: Annotated[_Fraction, Flag(Panel.OPTIMIZER, can_change=True)] = 0.9
    """Momentum of SGD."""
    momentum_kind: Annotated[MomentumKind, Flag(Panel.OPTIMIZER, can_change=True)] = (
        MomentumKind.CLASSICAL
    )
    """classical: the paper's; nesterov: Sutskever et al. 2013."""
    muon_rate: Annotated[_Share, Flag(Panel.OPTIMIZER, can_change=True)] = 0.0
    """Initial step of Muon for hidden convolutions; 0 = SGD."""
    weight_decay: Annotated[_Share, Flag(Panel.OPTIMIZER, can_change=True)] = 5e-4
    """Weight decay (L2 penalty)."""
    bias_rate_factor: Annotated[
        float, Field(ge=0, le=100, allow_inf_nan=False), Flag(Panel.OPTIMIZER, can_change=True)
    ] = 1.0
    """Learning rate of the biases, as a multiple of the weights' (2 in the authors' source)."""
    bias_decay: Annotated[bool, Flag(Panel.OPTIMIZER, can_change=True)] = True
    """Weight decay for biases too; off in the released source."""
    dropout: Annotated[_Fraction, Flag(Panel.NETWORK)] = 0.5
    """Dropout probability in fc6 and fc7."""
    activation: Annotated[Activation, Flag(Panel.NETWORK)] = Activation.RELU
    """Activation of the hidden layers."""
    lrn: Annotated[bool | None, Flag(Panel.NETWORK, default="as published for the network")] = None
    """Local response normalisation."""
    pool: Annotated[Pool, Flag(Panel.NETWORK)] = Pool.OVERLAPPING
    """Pooling windows at stride 2: 3x3 (overlapping) or 2x2 (plain)."""
    groups: Annotated[int, Field(ge=0, le=2), Flag(Panel.NETWORK)] = 0
    """Groups (towers) of the convolutions; 0 = as in the network."""
    kernels: Annotated[Kernels, Flag(Panel.NETWORK)] = Kernels.ALL
    """Kernels before the last convolution: all, or half (paper: one GPU)."""
    init: Annotated[Init, Flag(Panel.INIT)] = Init.HE
    """he; paper: N(0, 0.01), biases of 1; released: of the released source. The latter two need
    --input-scaling centred. On data other than CIFAR-10, alexnet-cifar starts with he."""
    input_scaling: Annotated[InputScaling, Flag(Panel.INIT)] = InputScaling.STANDARD
    """standard: mean 0 and standard deviation 1 by channel; centred: 0-255 minus the mean, as in
    the paper."""
    from_weights: Annotated[
        str,
        AfterValidator(_absolute_path),
        AfterValidator(_require_text),
        Flag(Panel.INIT, also="--from"),
    ] = ""
    """Start from trained weights: owt (see download --weights), a run folder or a .safetensors
    export. If the classes differ, the last layer is new."""
    freeze: Annotated[Freeze, Flag(Panel.INIT)] = Freeze.NOTHING
    """Weights that are not trained."""
    ema_decay: Annotated[_Fraction, Flag(Panel.OPTIMIZER, can_change=True)] = 0.0
    """EMA decay of the weights, e.g. 0.999; 0 = off."""
    schedule: Annotated[Schedule, Flag(Panel.SCHEDULE, can_change=True)] = Schedule.PLATEAU
    """Drops by 10 on a plateau of the validation accuracy, or after given epochs (stages); inverse
    in time, linear or cosine to zero, or constant."""
    warmup_epochs: Annotated[
        float, Field(ge=0, le=100_000, allow_inf_nan=False), Flag(Panel.SCHEDULE, can_change=True)
    ] = 0.0
    """Epochs of linear warm-up of the learning rate."""
    label_smoothing: Annotated[_Fraction, Flag(Panel.OPTIMIZER, can_change=True)] = 0.0
    """Label smoothing: fraction of each target spread over all classes."""
    class_weights: Annotated[ClassWeights, Flag(Panel.OPTIMIZER, can_change=True)] = (
        ClassWeights.NONE
    )
    """balanced: in the training loss all classes count the same, however many images they have."""
    patience: Annotated[int, Field(ge=1), Flag(Panel.SCHEDULE, can_change=True)] = 10
    """Epochs without a better val accuracy before the learning rate drops."""
    max_drops: Annotated[int, Field(ge=0, le=10), Flag(Panel.SCHEDULE, can_change=True)] = 3
    """Most drops of the learning rate by the plateau schedule."""
    drop_epochs: Annotated[
        str,
        AfterValidator(_require_epochs),
        Field(max_length=100),
        Flag(Panel.SCHEDULE, can_change=True),
    ] = ""
    """Epochs after which stages drops the learning rate, e.g. 120,130."""
    image_size: Annotated[_Pixels, Flag(Panel.IMAGES)] = 0
    """Resize the central square to this many px. 0 = the stored size; for a folder of mixed sizes
    the network's own."""
    crop_size: Annotated[_Pixels, Flag(Panel.IMAGES)] = 0
    """Crop size in px; 0 = the network's own, or 7/8 of the image size."""
    early_crop_size: Annotated[_Pixels, Flag(Panel.IMAGES, can_change=True)] = 0
    """Crop size in the first two thirds of the epochs; 0 = as later."""
    pad: Annotated[int, Field(ge=0, le=64), Flag(Panel.IMAGES, can_change=True)] = 0
    """Zero padding before random crops, in px. Default: 2 for alexnet-cifar on cifar10, unless
    --recipe fast, --image-size or --crop-size is given; else 0."""
    flip: Annotated[bool, Flag(Panel.IMAGES, can_change=True)] = True
    """Random horizontal flips."""
    colour_noise: Annotated[float, Field(ge=0, le=10), Flag(Panel.IMAGES, also="--color-noise")] = (
        0.1
    )
    """Colour changes along the principal components of the training set's colours, relative to
    theirs (paper §4.1)."""
    val_size: Annotated[
        int | float | None,
        AfterValidator(_require_val_size),
        WithJsonSchema({"anyOf": [_COUNT, _SHARE_BELOW_1]}),
        Flag(Panel.IMAGES, default="a tenth, at most 5,000"),
    ] = None
    """Training images held out for validation: a number, or a fraction such as 0.2."""
    seed: Annotated[int, Field(ge=0, lt=2**31), Flag(Panel.GENERAL)] = 0
    """Seed of split, initial weights, order, crops and dropout."""
    precision: Annotated[Precision, Flag(Panel.GENERAL, can_change=True)] = Precision.AUTO
    """auto: bf16 where the hardware is fast at it, else fp32."""

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if self.image_size and self.crop_size > self.image_size:
            reason = f"crop_size {self.crop_size} is larger than image_size {self.image_size}"
            raise ValueError(reason)
        if self.momentum_kind is MomentumKind.NESTEROV and not self.momentum:
            raise ValueError("momentum_kind nesterov needs a momentum above 0")
        if (self.schedule is Schedule.STAGES) != bool(self.drop_epochs):
            reason = "schedule stages and drop_epochs need each other"
            raise _refusal(reason, "give both, --schedule stages --drop-epochs 120,130, or neither")
        if self.stages and self.stages[-1] > self.epochs:
            reason = f"drop_epochs {self.drop_epochs} go beyond the {self.epochs} epochs"
            raise _refusal(reason, f"choose --drop-epochs up to {self.epochs}, or more --epochs")
        if self.freeze is not Freeze.NOTHING and not self.from_weights:
            raise ValueError("freeze needs from_weights: fresh weights have to learn")
        is_fresh = self.init is Init.HE and self.input_scaling is InputScaling.STANDARD
        if self.from_weights and not is_fresh:
            raise ValueError("from_weights brings its own start: leave init and input_scaling out")
        return self

    @property
    def stages(self) -> tuple[int, ...]:
        return tuple(int(epoch) for epoch in self.drop_epochs.split(",") if epoch)

    @property
    def default_name(self) -> str:
        """Name of the run folder."""
        return f"{self.model}-{Path(self.data).name}"

    @property
    def network_options(self) -> dict[str, Any]:
        """The architecture options for `network_spec`; None is the network's own value."""
        return {name: getattr(self, name) for name in OPTIONS} | {"groups": self.groups or None}

    def sha256(self) -> str:
        """Return a hash that is equal exactly when every field is."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def flag_metadata(name: str) -> Flag:
    metadata = TrainConfig.model_fields[name].metadata
    return next(each for each in metadata if isinstance(each, Flag))


def help_text(field: str) -> str:
    return " ".join((TrainConfig.model_fields[field].description or "").split())


def flag_of(field: str) -> str:
    return "--" + field.replace("_", "-")


def variable_of(field: str) -> str:
    return f"{PREFIX}{field.upper()}"
