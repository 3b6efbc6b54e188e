"""The layers of a network with their shapes and costs: the table of `alexnet explain`.

The network runs on the meta device, on tensors without memory, so that nothing is computed.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from alexnet_cli.models.build import outline_network
from alexnet_cli.models.layers import LocallyConnected, SameMapNorm
from alexnet_cli.models.lrn import LocalResponseNorm
from alexnet_cli.networks import NetworkSpec

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
    """One layer; counts are for one image.

    Attributes:
        name: Kind, and a number for layers with weights.
        output_shape: C, H, W, or the number of units.
        kernel: Side of the window in pixels, or none; so are the next three.
        stride: In pixels.
        padding: In pixels.
        groups: Groups of channels that are not connected with each other.
        num_parameters: Trainable numbers.
        num_macs: Multiply-accumulates with weights.
        receptive_field_px: Side of a unit's receptive field; none: the entire image.
        activation_bytes: Of the output in float32.
        section: Section of the paper, or the source, that describes it.
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
    """Return the layers of a network from input to output.

    Raises:
        UsageError: The input size does not suit the network.
    """
    network = outline_network(spec).eval()
    rows: list[LayerRow] = []
    field, jump, number = 1, 1, 0

    def add_row(module: nn.Module, _inputs: Any, output: Tensor) -> None:
        nonlocal field, jump, number
        name, section = _KINDS[type(module)]
        kernel, stride, padding, groups = _window(module)
        if kernel is not None and stride is not None:
            field += (kernel - 1) * jump
            jump *= stride
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            section = "§3.2, §3.5"
        if isinstance(module, nn.Conv2d | LocallyConnected | nn.Linear):
            number += 1
            name = f"{name}{number}"
        is_map = output.ndim == 4
        rows.append(
            LayerRow(
                name=name,
                output_shape=tuple(output.shape[1:]),
                kernel=kernel,
                stride=stride,
                padding=padding,
                groups=groups,
                num_parameters=sum(p.numel() for p in module.parameters()),
                num_macs=_num_macs(module, output),
                receptive_field_px=field if is_map else None,
                activation_bytes=output.numel() * _BYTES,
                section=section,
            )
        )

    for module in network.modules():
        if type(module) in _KINDS:
            module.register_forward_hook(add_row)
    network(torch.empty(1, 3, spec.crop_size_px, spec.crop_size_px, device="meta"))
    return tuple(rows)


def _window(module: nn.Module) -> tuple[int, int, int, int] | tuple[None, None, None, None]:
    """Return kernel size, stride, padding and groups of a layer that slides over the image."""
    if isinstance(module, SameMapNorm):
        return module.size, 1, module.size // 2, 1
    if not isinstance(module, nn.Conv2d | LocallyConnected | nn.MaxPool2d | nn.AvgPool2d):
        return None, None, None, None
    sides: tuple[Any, ...] = (module.kernel_size, module.stride, module.padding)
    kernel, stride, padding = (int(s[0] if isinstance(s, tuple) else s) for s in sides)
    return kernel, stride, padding, int(getattr(module, "groups", 1))


def _num_macs(module: nn.Module, output: Tensor) -> int:
    if isinstance(module, nn.Conv2d):
        return module.weight.numel() * output.shape[2] * output.shape[3]
    if isinstance(module, nn.Linear | LocallyConnected):
        return module.weight.numel()
    return 0
