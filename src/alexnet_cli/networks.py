"""What a trained model needs in order to be run, as JSON inside every exported file.

The manifest is the only source `predict` has for classes, sizes and preprocessing; nothing is
guessed. Plain dataclasses, because `predict` starts faster without pydantic.

What is published of each named network beside its layers: sizes, switches, weights, training.

Sources: P, Krizhevsky et al. 2012, the paper; CHM, `computerhistory/AlexNet-Source-Code`; W1, the
cuda-convnet wiki and the layer definitions in cuda-convnet's `example-layers`; OWT, Krizhevsky
2014, "One weird trick for parallelizing convolutional neural networks".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from alexnet_cli.errors import UsageError


class Network(StrEnum):
    """The networks that can be built by name."""

    ALEXNET = "alexnet"
    ALEXNET_OWT = "alexnet-owt"
    ALEXNET_CIFAR = "alexnet-cifar"
    ALEXNET_CIFAR_BN = "alexnet-cifar-bn"
    CUDA_CONVNET_80SEC = "cuda-convnet-80sec"
    CUDA_CONVNET_19PCT = "cuda-convnet-19pct"
    CUDA_CONVNET_18PCT = "cuda-convnet-18pct"
    CUDA_CONVNET_13PCT = "cuda-convnet-13pct"
    CUDA_CONVNET_11PCT = "cuda-convnet-11pct"


class Activation(StrEnum):
    """What follows a hidden layer."""

    RELU = "relu"
    TANH = "tanh"


class Pool(StrEnum):
    """Windows of the pooling layers: 3×3 or 2×2, at stride 2 both."""

    OVERLAPPING = "overlapping"
    PLAIN = "plain"


class Kernels(StrEnum):
    """How many kernels the convolutions have before the last: the published number, or half."""

    ALL = "all"
    HALF = "half"


@dataclass(frozen=True)
class NetworkSpec:
    """What rebuilds the network.

    Attributes:
        name: Which network.
        num_classes: Outputs of the last layer.
        crop_size_px: Side of the square input.
        dropout: Probability of zeroing a hidden unit in training.
        activation: After each hidden layer.
        lrn: Whether the network has its local response normalisation.
        pool: Windows of the pooling layers.
        groups: Towers that the convolutions are divided into.
        kernels: How many kernels the convolutions have.
    """

    name: Network
    num_classes: int
    crop_size_px: int
    dropout: float = 0.5
    activation: Activation = Activation.RELU
    lrn: bool = True
    pool: Pool = Pool.OVERLAPPING
    groups: int = 2
    kernels: Kernels = Kernels.ALL


PRETRAINED = {"owt": Network.ALEXNET_OWT}
"""Names of trained weights that can be downloaded, and their network."""

PRETRAINED_DATA = "imagenet"
"""What they were trained on; it cannot be named with --data."""

SWITCHES = ("activation", "lrn", "pool", "groups", "kernels")


@dataclass(frozen=True)
class Initial:
    """Standard deviation and bias of each layer with weights, in their order."""

    stds: tuple[float, ...]
    biases: tuple[float, ...]


# P §5: ones feed the ReLUs of conv2, conv4, conv5, fc6 and fc7 with positive inputs at the start.
_ONES = (0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0)
_ALEXNET_INITIAL = {
    "paper": Initial((0.01,) * 8, _ONES),
    "released": Initial((0.01, 0.01, 0.03, 0.03, 0.03, 0.01, 0.01, 0.01), _ONES),  # CHM
}


CROP_SHARE = 7 / 8
"""Side of a crop as a share of the image's: 224 of 256 px in the paper (§4.1), so 28 of 32."""


@dataclass(frozen=True)
class Facts:
    """What is published of a network; by default, what holds for the paper's.

    Attributes:
        summary: One line for a list.
        source: Where it is published.
        image_size_px: Side to which images of many sizes are resized.
        crop_size_px: Side of its own crops; 0: `CROP_SHARE` of the image size.
        lrn: Whether it has local response normalisation.
        groups: Towers of its convolutions.
        switches: Which of `SWITCHES` it has.
        initial: Published initial weights, by the value of --init.
        decay_factors: Weight decay of each layer as a multiple of the configuration's; none: 1.
        dropout: Whether it has dropout; if not, it has a published training of its own.
        protocol: Settings of its training that differ from the defaults.
    """

    summary: str
    source: str = "the paper, §3"
    image_size_px: int = 32
    crop_size_px: int = 0
    lrn: bool = True
    groups: int = 2
    switches: tuple[str, ...] = SWITCHES
    initial: Mapping[str, Initial] = field(default_factory=lambda: _ALEXNET_INITIAL)
    decay_factors: tuple[float, ...] = ()
    dropout: bool = True
    protocol: Mapping[str, Any] = field(default_factory=dict)

    def own_crop_px(self, image_size_px: int) -> int:
        """Return the side of its crops of images of a side, both in pixels."""
        return min(self.crop_size_px, image_size_px) or round(image_size_px * CROP_SHARE)


def _warm_up() -> dict[str, Any]:
    """Return how `alexnet-owt` starts.

    Paper: the whole rate of 0.01 from the first update.
    Here: a rate that rises over the first epoch, because with He's initial weights and no LRN
    the ReLUs of a whole layer died within 200 updates.
    """
    return {"warmup_epochs": 1.0}


def _protocol(epochs: int, drop_epochs: str, *, flip: bool) -> dict[str, Any]:
    """Return how Krizhevsky trained his own networks, rates and epochs as on W1.

    Paper's author, on the wiki: trained on batches 1 to 4 first, batch 5 held out, then on all
    five. Here: validation images stay held out to the end, because the best epoch is chosen on
    them.
    """
    return {
        "learning_rate": 0.001, "weight_decay": 0.004, "bias_rate_factor": 2.0,
        "bias_decay": False, "init": "released", "input_scaling": "centred", "colour_noise": 0.0,
        "schedule": "stages", "epochs": epochs, "drop_epochs": drop_epochs, "flip": flip,
        "dropout": 0.0,
    }  # fmt: skip


def _released(*stds: float) -> dict[str, Initial]:
    return {"released": Initial(stds, (0.0,) * len(stds))}


_CONVNET = Facts(
    summary="",
    source="cuda-convnet, example-layers",
    crop_size_px=32,
    lrn=False,
    groups=1,
    dropout=False,
    switches=("activation", "lrn", "pool"),
)
_SMALL_STDS, _LOCAL_STDS = (1e-4, 0.01, 0.01), (1e-4, 0.01, 0.04, 0.04, 0.01)

FACTS = {
    Network.ALEXNET: Facts(
        "The network of 2012: two towers, LRN, overlapping pools.",
        image_size_px=256,
        crop_size_px=224,
    ),
    Network.ALEXNET_OWT: Facts(
        "The single tower of 2014 as in torchvision, whose weights fit.",
        source="One weird trick (2014); torchvision",
        image_size_px=256,
        crop_size_px=224,
        lrn=False,
        groups=1,
        switches=(),
        protocol=_warm_up(),
    ),
    Network.ALEXNET_CIFAR: Facts("The paper's layers at the scale of 32 pixels."),
    Network.ALEXNET_CIFAR_BN: Facts(
        "alexnet-cifar with batch normalisation in place of LRN.",
        source="the paper, §3; Ioffe, Szegedy 2015",
        lrn=False,
        switches=("activation", "pool", "groups"),
    ),
    Network.CUDA_CONVNET_80SEC: replace(
        _CONVNET,
        summary="26 % test error within 80 seconds, in 2011.",
        switches=("activation", "pool"),
        initial=_released(*_SMALL_STDS, 0.1, 0.1),
        decay_factors=(1, 1, 1, 7.5, 7.5),
        protocol=_protocol(10, "8", flip=False),
    ),
    Network.CUDA_CONVNET_19PCT: replace(
        _CONVNET,
        summary="19 % test error without augmentation.",
        initial=_released(*_SMALL_STDS, 0.01),
        decay_factors=(1, 1, 1, 750),
        protocol=_protocol(140, "120,130", flip=False),
    ),
    Network.CUDA_CONVNET_18PCT: replace(
        _CONVNET,
        summary="18 %: the former with same-map normalisation.",
        lrn=True,
        initial=_released(*_SMALL_STDS, 0.01),
        decay_factors=(1, 1, 1, 250),
        protocol=_protocol(140, "120,130", flip=False),
    ),
    Network.CUDA_CONVNET_13PCT: replace(
        _CONVNET,
        summary="13 %: 24-px crops, mirror images, locally connected layers.",
        crop_size_px=24,
        initial=_released(*_LOCAL_STDS),
        decay_factors=(0, 0, 1, 1, 1),
        protocol=_protocol(160, "140,150", flip=True),
    ),
    Network.CUDA_CONVNET_11PCT: replace(
        _CONVNET,
        summary="11 %: the former with LRN and a wider local layer.",
        crop_size_px=24,
        lrn=True,
        initial=_released(*_LOCAL_STDS),
        decay_factors=(0, 0, 1, 1, 2.5),
        protocol=_protocol(520, "500,510", flip=True),
    ),
}


def switch_flag(key: str, value: Any) -> str:
    """Return what sets a switch on the command line."""
    if isinstance(value, bool):
        return f"--{key}" if value else f"--no-{key}"
    return f"--{key} {value}"


def network_spec(
    name: Network,
    *,
    num_classes: int,
    crop_size_px: int,
    dropout: float = 0.5,
    switches: Mapping[str, Any] | None = None,
) -> NetworkSpec:
    """Describe a network, what is not switched as published.

    Args:
        name: Which network.
        num_classes: Outputs of the last layer.
        crop_size_px: Side of the square input.
        dropout: Probability of zeroing a hidden unit in training.
        switches: Values by names of `SWITCHES`; None is the network's own.

    Raises:
        UsageError: The network does not have such a switch.
    """
    facts = FACTS[name]
    own = {"activation": Activation.RELU, "lrn": facts.lrn, "pool": Pool.OVERLAPPING,
           "groups": facts.groups, "kernels": Kernels.ALL}  # fmt: skip
    chosen = {key: value for key, value in (switches or {}).items() if value is not None}
    for key, value in chosen.items():
        if value != own[key] and key not in facts.switches:
            raise UsageError(
                f"{name} cannot be built with {switch_flag(key, value)}",
                hint=f"leave it out; what {name} can be switched in: "
                + (", ".join(facts.switches) or "nothing"),
            )
    return NetworkSpec(name, num_classes, crop_size_px, dropout, **{**own, **chosen})
