"""The network registry: each network's name, class, published sizes, weights and training.

A new network is a class in `models/` and one member of `Network`.

Sources: P, Krizhevsky et al. 2012, the paper; CHM, `computerhistory/AlexNet-Source-Code`; W1, the
cuda-convnet wiki and the layer definitions in cuda-convnet's `example-layers`; OWT, Krizhevsky
2014, "One weird trick for parallelizing convolutional neural networks".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Self

from alexnet_cli.errors import UsageError


class Activation(StrEnum):
    """Nonlinearity after each hidden layer."""

    RELU = "relu"
    TANH = "tanh"


class Pool(StrEnum):
    """Windows of the max-pooling layers: 3×3 or 2×2, both at stride 2."""

    OVERLAPPING = "overlapping"
    PLAIN = "plain"


class Kernels(StrEnum):
    """Number of kernels in all convolutions but the last: as published, or half."""

    ALL = "all"
    HALF = "half"


OPTIONS = ("activation", "lrn", "pool", "groups", "kernels")
"""Architecture options, as the paper compared them: fields of `NetworkSpec`."""

# Of the released source (CHM): initial weights, inputs, learning rate and decay of biases.
RELEASED_START: Mapping[str, Any] = {
    "init": "released", "input_scaling": "centred", "bias_rate_factor": 2.0, "bias_decay": False,
}  # fmt: skip


@dataclass(frozen=True)
class Departure:
    """A difference between the paper and this project, with its reason."""

    paper: str
    here: str
    because: str

    def __str__(self) -> str:
        return f"Paper: {self.paper}. Here: {self.here}, because {self.because}."


@dataclass(frozen=True)
class InitConstants:
    """Initial weights N(0, std) and biases of the layers, from input to output."""

    stds: tuple[float, ...]
    biases: tuple[float, ...]


# P §5: ones feed the ReLUs of conv2, conv4, conv5, fc6 and fc7 with positive inputs at the start.
_ONES = (0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0)
_ALEXNET_INIT = {
    "paper": InitConstants((0.01,) * 8, _ONES),
    "released": InitConstants((0.01, 0.01, 0.03, 0.03, 0.03, 0.01, 0.01, 0.01), _ONES),  # CHM
}


@dataclass(frozen=True)
class NetworkInfo:
    """The published description of a network; the defaults are the paper's."""

    summary: str  # one line for a list
    model_class: str  # `module:Class` in `alexnet_cli.models`
    source: str = "the paper, §3"
    image_size_px: int = 32  # side to which images of mixed sizes are resized
    crop_size_px: int = 0  # side of its own crops; 0: 7/8 of the image size
    lrn: bool = True  # it has local response normalisation
    groups: int = 2  # towers of its convolutions
    options: tuple[str, ...] = OPTIONS  # those that can be set
    init_constants: Mapping[str, InitConstants] = field(default_factory=lambda: _ALEXNET_INIT)
    decay_factors: tuple[float, ...] = ()  # of each layer, relative to --weight-decay; empty: 1
    has_dropout: bool = True  # in the published network; those without have no recipe `fast`
    training: Mapping[str, Any] = field(default_factory=dict)  # published, besides the defaults
    cifar10_training: Mapping[str, Any] = field(default_factory=dict)  # the same, on CIFAR-10 only
    training_departures: tuple[Departure, ...] = ()  # from the published training

    def own_crop_px(self, image_size_px: int = 0) -> int:
        """Return the side of its crops of images of a size, by default its own."""
        size = image_size_px or self.image_size_px
        # 224 of 256 px in the paper (§4.1), so 28 of 32.
        return min(self.crop_size_px, size) or round(size * 7 / 8)


_CONVNET = NetworkInfo(
    summary="",
    model_class="",
    source="cuda-convnet, example-layers",
    crop_size_px=32,
    lrn=False,
    groups=1,
    has_dropout=False,
    options=("activation", "lrn", "pool"),
    training_departures=(
        Departure(
            paper="its author's wiki trains on batches 1 to 4, with batch 5 held out, then on all",
            here="validation images stay held out to the end",
            because="the best epoch is chosen on them",
        ),
    ),
)


def _released(*stds: float) -> dict[str, InitConstants]:
    return {"released": InitConstants(stds, (0.0,) * len(stds))}


def _convnet_training(epochs: int, drop_epochs: str, *, flip: bool) -> dict[str, Any]:
    """Return Krizhevsky's settings for his own networks; learning rates and epochs as on W1."""
    return {
        **RELEASED_START, "learning_rate": 0.001, "weight_decay": 0.004, "colour_noise": 0.0,
        "schedule": "stages", "epochs": epochs, "drop_epochs": drop_epochs, "flip": flip,
        "dropout": 0.0,
    }  # fmt: skip


class Network(StrEnum):
    """The networks that can be built by name."""

    info: NetworkInfo

    # mypy takes a look-up, as `Network("alexnet")`, for a call of this: hence the default.
    def __new__(cls, name: str, info: Any = None) -> Self:
        member = str.__new__(cls, name)
        member._value_, member.info = name, info
        return member

    ALEXNET = (
        "alexnet",
        NetworkInfo(
            "The network of 2012: two towers, LRN, overlapping pools.",
            "alexnet:AlexNet",
            image_size_px=256,
            crop_size_px=224,
        ),
    )
    ALEXNET_OWT = (
        "alexnet-owt",
        NetworkInfo(
            "The single tower of 2014 as in torchvision, whose weights fit.",
            "alexnet:AlexNetOWT",
            source="One weird trick (2014); torchvision",
            image_size_px=256,
            crop_size_px=224,
            lrn=False,
            groups=1,
            options=(),
            training={"warmup_epochs": 1.0},
            training_departures=(
                Departure(
                    paper="learning rate 0.01 from the first update",
                    here="the learning rate rises over the first epoch",
                    because="with He initialisation and no LRN the ReLUs of an entire layer died "
                    "within 200 updates",
                ),
            ),
        ),
    )
    ALEXNET_CIFAR = (
        "alexnet-cifar",
        NetworkInfo(
            "The paper's layers at the scale of 32 pixels.",
            "alexnet:AlexNetCifar",
            cifar10_training={**RELEASED_START, "pad": 2},
            training_departures=(
                Departure(
                    paper="weights N(0, 0.01), biases of 1, one learning rate for all (§5), crops "
                    "of the image alone (§4.1)",
                    here="on CIFAR-10, initial weights, inputs and learning rates of biases as in "
                    "the released source, and two zero pixels around the image; on other data, He "
                    "initialisation",
                    because="without the border a 32-px image has 25 crops instead of the paper's "
                    "1,024, and on drawn shapes, the only other data tried, the ReLUs of fc7 died "
                    "after the released start",
                ),
            ),
        ),
    )
    ALEXNET_CIFAR_BN = (
        "alexnet-cifar-bn",
        NetworkInfo(
            "alexnet-cifar with batch normalisation in place of LRN.",
            "alexnet:AlexNetCifarBN",
            source="the paper, §3; Ioffe, Szegedy 2015",
            lrn=False,
            options=("activation", "pool", "groups"),
        ),
    )
    CUDA_CONVNET_80SEC = (
        "cuda-convnet-80sec",
        replace(
            _CONVNET,
            summary="26 % test error within 80 seconds, in 2011.",
            model_class="cuda_convnet:CudaConvnet80Sec",
            options=("activation", "pool"),
            init_constants=_released(1e-4, 0.01, 0.01, 0.1, 0.1),
            decay_factors=(1, 1, 1, 7.5, 7.5),
            training=_convnet_training(10, "8", flip=False),
        ),
    )
    CUDA_CONVNET_19PCT = (
        "cuda-convnet-19pct",
        replace(
            _CONVNET,
            summary="19 % test error without augmentation.",
            model_class="cuda_convnet:CudaConvnet18Pct",
            init_constants=_released(1e-4, 0.01, 0.01, 0.01),
            decay_factors=(1, 1, 1, 750),
            training=_convnet_training(140, "120,130", flip=False),
        ),
    )
    CUDA_CONVNET_18PCT = (
        "cuda-convnet-18pct",
        replace(
            _CONVNET,
            summary="18 %: the former with same-map normalisation.",
            model_class="cuda_convnet:CudaConvnet18Pct",
            lrn=True,
            init_constants=_released(1e-4, 0.01, 0.01, 0.01),
            decay_factors=(1, 1, 1, 250),
            training=_convnet_training(140, "120,130", flip=False),
        ),
    )
    CUDA_CONVNET_13PCT = (
        "cuda-convnet-13pct",
        replace(
            _CONVNET,
            summary="13 %: 24-px crops, mirror images, locally connected layers.",
            model_class="cuda_convnet:CudaConvnet13Pct",
            crop_size_px=24,
            init_constants=_released(1e-4, 0.01, 0.04, 0.04, 0.01),
            decay_factors=(0, 0, 1, 1, 1),
            training=_convnet_training(160, "140,150", flip=True),
        ),
    )
    CUDA_CONVNET_11PCT = (
        "cuda-convnet-11pct",
        replace(
            _CONVNET,
            summary="11 %: the former with LRN and a wider local layer.",
            model_class="cuda_convnet:CudaConvnet11Pct",
            crop_size_px=24,
            lrn=True,
            init_constants=_released(1e-4, 0.01, 0.04, 0.04, 0.01),
            decay_factors=(0, 0, 1, 1, 2.5),
            training=_convnet_training(520, "500,510", flip=True),
        ),
    )


PRETRAINED = {"owt": Network.ALEXNET_OWT}  # trained weights that can be downloaded
PRETRAINED_DATA = "imagenet"  # what they were trained on; it cannot be chosen with --data


@dataclass(frozen=True)
class NetworkSpec:
    """The description from which a network is built."""

    name: Network
    num_classes: int
    crop_size_px: int  # side of the square input
    dropout: float = 0.5
    activation: Activation = Activation.RELU
    lrn: bool = True
    pool: Pool = Pool.OVERLAPPING
    groups: int = 2
    kernels: Kernels = Kernels.ALL


def network_spec(
    name: Network,
    *,
    num_classes: int,
    crop_size_px: int,
    dropout: float = 0.5,
    options: Mapping[str, Any] | None = None,
) -> NetworkSpec:
    """Describe a network; options (see `OPTIONS`) that are not given, or None, are as published.

    Raises:
        UsageError: The network does not have such an option.
    """
    info = name.info
    spec = NetworkSpec(name, num_classes, crop_size_px, dropout, lrn=info.lrn, groups=info.groups)
    chosen = {key: value for key, value in (options or {}).items() if value is not None}
    for key, value in chosen.items():
        if value != getattr(spec, key) and key not in info.options:
            raise UsageError(
                f"{name} cannot be built with {option_flag(key, value)}",
                hint=f"leave it out; options of {name}: {', '.join(info.options) or 'none'}",
            )
    return replace(spec, **chosen)


def option_flag(key: str, value: Any) -> str:
    """Return an option as on the command line: `--pool plain`, `--no-lrn`."""
    if isinstance(value, bool):
        return f"--{key}" if value else f"--no-{key}"
    return f"--{key} {value}"
