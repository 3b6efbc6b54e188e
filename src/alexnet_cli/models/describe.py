"""What each layer of a network does, counted: the table of `alexnet explain`.

Nothing is computed: the network is run on tensors without memory.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from alexnet_cli.models.build import outline_network
from alexnet_cli.models.layers import LocallyConnected, SameMapNorm
from alexnet_cli.models.lrn import LocalResponseNorm
from alexnet_cli.networks import Activation, Kernels, NetworkSpec, Pool, network_spec

_BYTES = 4  # of a float32
_SECTIONS: dict[type[nn.Module], tuple[str, str]] = {
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


_SWITCHED = {  # value other than the paper's, what the paper has, what there is instead
    "activation": (Activation.TANH, "Paper: ReLUs behind the hidden layers (§3.1).", "tanh"),
    "lrn": (False, "Paper: local response normalisation (§3.3).", "none"),
    "pool": (Pool.PLAIN, "Paper: overlapping 3×3 pools at stride 2 (§3.4).", "2×2 at stride 2"),
    "kernels": (
        Kernels.HALF,
        "Paper: the network for one GPU has half as many kernels in conv1 to conv4 (§3.2).",
        "so many",
    ),
    "groups": (1, "Paper: convolutions in two towers, one on each GPU (§3.2, §3.5).", "one tower"),
}


@dataclass(frozen=True)
class LayerRow:
    """One layer; counts are for one image.

    Attributes:
        name: Kind, and a number for layers with weights.
        output_shape: C, H, W, or the number of units.
        kernel: Side of the window in pixels, or none; so are the next three.
        stride: In pixels.
        padding: In pixels.
        groups: Parts that do not see each other.
        num_parameters: Trainable numbers.
        num_macs: Multiplications and additions of weights.
        receptive_field_px: Side of the part of the image that a unit sees; none: all of it.
        activation_bytes: Of the output in float32.
        section: Where it is described.
    """

    name: str
    output_shape: tuple[int, ...]
    kernel: int | None
    stride: int | None
    padding: int | None
    groups: int | None
    num_parameters: int
    num_macs: int
    receptive_field_px: int | None
    activation_bytes: int
    section: str


def layer_table(spec: NetworkSpec) -> tuple[LayerRow, ...]:
    """Return the layers from input to output.

    Args:
        spec: The network.

    Raises:
        UsageError: The input size does not suit the network.
    """
    network = outline_network(spec).eval()
    rows: list[LayerRow] = []
    field, jump, number = 1, 1, 0

    def note(module: nn.Module, _inputs: Any, output: Tensor) -> None:
        nonlocal field, jump, number
        kind, section = _SECTIONS[type(module)]
        window = _window(module)
        if window is not None:
            field += (window[0] - 1) * jump
            jump *= window[1]
        if hasattr(module, "weight") and not kind.startswith("batch"):
            number += 1
            kind = f"{kind}{number}"
        if kind.startswith("conv") and window is not None and window[3] > 1:
            section = "§3.2, §3.5"
        sees_all = isinstance(module, nn.Linear) or output.ndim < 4
        kernel, stride, padding, groups = window or (None,) * 4
        rows.append(
            LayerRow(
                name=kind,
                output_shape=tuple(output.shape[1:]),
                kernel=kernel,
                stride=stride,
                padding=padding,
                groups=groups,
                num_parameters=sum(p.numel() for p in module.parameters()),
                num_macs=_num_macs(module, output),
                receptive_field_px=None if sees_all else field,
                activation_bytes=output.numel() * _BYTES,
                section=section,
            )
        )

    for module in network.modules():
        if type(module) in _SECTIONS:
            module.register_forward_hook(note)
    network(torch.empty(1, 3, spec.crop_size_px, spec.crop_size_px, device="meta"))
    return tuple(rows)


def _window(module: nn.Module) -> tuple[int, int, int, int] | None:
    """Return side, stride, padding and groups of a layer that slides over the image."""
    if isinstance(module, SameMapNorm):
        return module.size, 1, module.size // 2, 1
    sliding = (nn.Conv2d, LocallyConnected, nn.MaxPool2d, nn.AvgPool2d)
    if not isinstance(module, sliding):
        return None
    return (
        _side(module.kernel_size), _side(module.stride), _side(module.padding),
        int(getattr(module, "groups", 1)),
    )  # fmt: skip


def _side(value: Any) -> int:
    return int(value[0] if isinstance(value, tuple) else value)


def _num_macs(module: nn.Module, output: Tensor) -> int:
    if isinstance(module, nn.Conv2d):
        return module.weight.numel() * output.shape[2] * output.shape[3]
    if isinstance(module, nn.Linear | LocallyConnected):
        return module.weight.numel()
    return 0


def switch_notes(spec: NetworkSpec) -> tuple[str, ...]:
    """Return a line for each switch that takes the network further from the paper than it is."""
    own = network_spec(spec.name, num_classes=1, crop_size_px=1)
    return tuple(
        f"{paper} Here: {here}, because it was asked for."
        for key, (value, paper, here) in _SWITCHED.items()
        if getattr(spec, key) == value != getattr(own, key)
    )


def paper_notes(things: Iterable[Any]) -> tuple[str, ...]:
    """Return what the code says about the paper, in paragraphs that begin with "Paper".

    Args:
        things: Classes, functions, modules; of a class also its methods' comments.
    """
    return tuple(dict.fromkeys(note for thing in things for note in _notes(thing)))


def _notes(thing: Any) -> Iterator[str]:
    methods = [m for _, m in inspect.getmembers(thing, inspect.isfunction)
               if inspect.isclass(thing) and m.__module__ == thing.__module__]  # fmt: skip
    texts = [inspect.getdoc(thing) or "", *map(_comments, methods)]
    for text in texts:
        for paragraph in re.split(r"\n\s*\n", text):
            if paragraph.lstrip().startswith("Paper"):
                yield " ".join(paragraph.split())


def _comments(function: Callable[..., Any]) -> str:
    """Return the comment lines of a function, blank lines where there is code between them."""
    lines = (line.strip() for line in inspect.getsource(function).splitlines())
    return "\n".join(line.lstrip("# ") if line.startswith("#") else "" for line in lines)
