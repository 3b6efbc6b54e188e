"""Content of `alexnet explain`: a network's layers with their costs, and its departures.

A network's own departures from the paper stand next to its class (`departures`) and, for its
training, in its registry entry (`NetworkInfo.training_departures`). Here are the shared ones.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from alexnet_cli.models.build import LocallyConnected, SameMapNorm, outline_network
from alexnet_cli.models.lrn import LocalResponseNorm
from alexnet_cli.networks import (
    Activation,
    Departure,
    Kernels,
    Network,
    NetworkSpec,
    Pool,
    network_spec,
)

_BYTES = 4  # of a float32
_KINDS: dict[type[nn.Module], tuple[str, str]] = {  # name, and section of the paper or source
    nn.Conv2d: ("conv", "§3.5"),
    LocallyConnected: ("local", "cuda-convnet"),
    nn.Linear: ("fc", "§3.5"),
    nn.ReLU: ("relu", "§3.1"),
    nn.Tanh: ("tanh", "§3.1"),
    LocalResponseNorm: ("lrn", "§3.3"),
    SameMapNorm: ("same-map norm", "cuda-convnet"),
    nn.BatchNorm2d: ("batch norm", "Ioffe 2015"),
    nn.BatchNorm1d: ("batch norm", "Ioffe 2015"),
    nn.MaxPool2d: ("max pool", "§3.4"),
    nn.AvgPool2d: ("average pool", "cuda-convnet"),
    nn.AdaptiveAvgPool2d: ("average pool", "torchvision"),
    nn.Dropout: ("dropout", "§4.2"),
}


@dataclass(frozen=True)
class LayerRow:
    """One layer; counts are for one image."""

    name: str  # kind, and a number for layers with weights
    output_shape: tuple[int, ...]  # C, H, W, or the number of units
    kernel: int | None  # side of the window in pixels, or None; so are the next three
    stride: int | None
    padding: int | None
    groups: int | None  # groups of channels that are not connected with each other
    num_parameters: int
    num_macs: int  # multiply-accumulates with weights
    receptive_field_px: int | None  # of a unit; None: the entire image
    activation_bytes: int  # of the output in float32
    section: str  # of the paper, or the source that describes it


def layer_table(spec: NetworkSpec) -> tuple[LayerRow, ...]:
    """Return the layers of a network from input to output.

    The network runs on the meta device, on tensors without memory: nothing is computed.

    Raises:
        UsageError: The input size does not suit the network.
    """
    network = outline_network(spec).eval()
    rows: list[LayerRow] = []
    field, jump, number = 1, 1, 0

    def add_row(module: nn.Module, _inputs: Any, output: Tensor) -> None:
        nonlocal field, jump, number
        name, section = _KINDS[type(module)]
        window = _window(module)
        if window.size is not None and window.stride is not None:
            field += (window.size - 1) * jump
            jump *= window.stride
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            section = "§3.2, §3.5"
        if isinstance(module, nn.Conv2d | LocallyConnected | nn.Linear):
            number += 1
            name = f"{name}{number}"
        rows.append(
            LayerRow(
                name,
                tuple(output.shape[1:]),
                *window,
                num_parameters=sum(p.numel() for p in module.parameters()),
                num_macs=_num_macs(module, output),
                receptive_field_px=field if output.ndim == 4 else None,
                activation_bytes=output.numel() * _BYTES,
                section=section,
            )
        )

    for module in network.modules():
        if type(module) in _KINDS:
            module.register_forward_hook(add_row)
    network(torch.empty(1, 3, spec.crop_size_px, spec.crop_size_px, device="meta"))
    return tuple(rows)


def totals(rows: tuple[LayerRow, ...]) -> dict[str, int]:
    """Return the sums over the layers, by field."""
    fields = ("num_parameters", "num_macs", "activation_bytes")
    return {field: sum(getattr(row, field) for row in rows) for field in fields}


class _Window(NamedTuple):
    """The window that a layer slides over the image; all None for other layers."""

    size: int | None = None
    stride: int | None = None
    padding: int | None = None
    groups: int | None = None


def _window(module: nn.Module) -> _Window:
    if isinstance(module, SameMapNorm):
        return _Window(module.size, 1, module.size // 2, 1)
    if not isinstance(module, nn.Conv2d | LocallyConnected | nn.MaxPool2d | nn.AvgPool2d):
        return _Window()
    sides: tuple[Any, ...] = (module.kernel_size, module.stride, module.padding)
    size, stride, padding = (int(s[0] if isinstance(s, tuple) else s) for s in sides)
    return _Window(size, stride, padding, int(getattr(module, "groups", 1)))


def _num_macs(module: nn.Module, output: Tensor) -> int:
    if isinstance(module, nn.Conv2d):
        return module.weight.numel() * output.shape[2] * output.shape[3]
    if isinstance(module, nn.Linear | LocallyConnected):
        return module.weight.numel()
    return 0


_OPTIONS = {  # option: the value that is not the paper's, the paper's choice, the choice here
    "activation": (Activation.TANH, "ReLUs after the hidden layers (§3.1)", "tanh"),
    "lrn": (False, "local response normalisation (§3.3)", "none"),
    "pool": (Pool.PLAIN, "overlapping 3×3 pools at stride 2 (§3.4)", "2×2 at stride 2"),
    "kernels": (
        Kernels.HALF,
        "all kernels on two GPUs; half as many in conv1 to conv4 on one (§3.2)",
        "half as many",
    ),
    "groups": (1, "convolutions in two towers, one on each GPU (§3.2, §3.5)", "one tower"),
}

_PAPER_TRAINING = (
    Departure(
        paper="weights N(0, 0.01), biases of 1 in conv2, conv4, conv5 and the hidden fully "
        "connected layers (§5)",
        here="He initialisation and zero biases",
        because="the paper's start needs inputs of 0–255 (mean subtracted, standard deviation "
        "about 70); on inputs of unit variance its logits hardly depend on the image, and the "
        "training loss stays at ln(classes)",
    ),
    Departure(
        paper="the colour noise of an image is [p1, p2, p3][α1 λ1, α2 λ2, α3 λ3]ᵀ: p the principal "
        "components of the training set's colours, λ their variances, α ~ N(0, 0.1) drawn anew "
        "whenever the image is used (§4.1)",
        here="√λ in place of λ",
        because="the original's data provider calls these factors standard deviations; λ itself, "
        "in the thousands on the scale 0–255, would drown the image",
    ),
    Departure(
        paper='"divide the learning rate by 10 when the validation error rate stopped improving '
        'with the current learning rate", three times, by hand (§5)',
        here="it is divided when `patience` epochs have passed since the best validation accuracy "
        "or the last division",
        because="a program needs a rule",
    ),
)
_CROPS = Departure(
    paper="random 224-px crops of 256-px images and their mirror images (§4.1)",
    here="the sizes are settings, and zero pixels may be put around the image first",
    because="other datasets have images of other sizes",
)
_EVERY_TRAINING = (
    Departure(
        paper="the mean over the training set is subtracted from each pixel, on the scale 0–255 "
        "(§2)",
        here="the mean by channel, the same for all pixels, and by default a division by the "
        "standard deviation",
        because="crops of other sizes then get the same input, and with He initialisation training "
        "starts at once on any data",
    ),
    Departure(
        paper="the velocity includes the learning rate: v ← 0.9 v - ε·(g + 0.0005 w) (§5)",
        here="PyTorch multiplies by it at the update, so that without Nesterov momentum the "
        "velocity is scaled by the old over the new learning rate when that changes",
        because="this makes the two equal",
    ),
)


def network_departures(spec: NetworkSpec) -> tuple[Departure, ...]:
    """Return how a network departs from the paper: its options, its class, its layer types.

    Raises:
        UsageError: The input size does not suit the network.
    """
    own = network_spec(spec.name, num_classes=1, crop_size_px=1)
    chosen = (
        Departure(paper, here, because="it was asked for")
        for key, (value, paper, here) in _OPTIONS.items()
        if getattr(spec, key) == value != getattr(own, key)
    )
    kinds: dict[type[nn.Module], None] = dict.fromkeys(map(type, outline_network(spec).modules()))
    return (*chosen, *(each for kind in kinds for each in getattr(kind, "departures", ())))


def training_departures(name: Network) -> tuple[Departure, ...]:
    info = name.info
    has_crops = info.own_crop_px() < info.image_size_px
    return (
        *(_PAPER_TRAINING if info.has_dropout else ()),
        *info.training_departures,
        *([_CROPS] if has_crops else []),
        *_EVERY_TRAINING,
    )
