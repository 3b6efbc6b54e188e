"""Build a network by name and draw its initial weights."""

import pkgutil

import torch
from torch import nn

from alexnet_cli.errors import UsageError
from alexnet_cli.models.layers import LocallyConnected
from alexnet_cli.networks import InitConstants, Network, NetworkSpec

WeightLayer = nn.Conv2d | nn.Linear | LocallyConnected


def build_network(spec: NetworkSpec, *, seed: int = 0, init: str = "he") -> nn.Module:
    """Build a network with fresh weights, which the seed fixes.

    `init` is `he`, `paper` (§5: N(0, 0.01), some biases 1) or `released` (as in its published
    source); see `NetworkInfo.init_constants`.

    Raises:
        UsageError: The input size does not suit the network, or it has no such initial weights.
    """
    network = _construct(spec)
    generator = torch.Generator().manual_seed(seed)
    if init == "he":
        _init_he(network, generator)
    else:
        _init_published(network, published_init(spec.name, init), generator)
    return network


def outline_network(spec: NetworkSpec) -> nn.Module:
    """Build a network on the meta device: its shapes without memory for its weights.

    Raises:
        UsageError: The input size does not suit the network.
    """
    with torch.device("meta"):
        return _construct(spec)


def _construct(spec: NetworkSpec) -> nn.Module:
    network: nn.Module = pkgutil.resolve_name(f"{__package__}.{spec.name.info.model_class}")(spec)
    return network


def weight_layers(network: nn.Module) -> list[WeightLayer]:
    """Return the convolutions, locally and fully connected layers, from input to output."""
    return [m for m in network.modules() if isinstance(m, WeightLayer)]


def num_parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def published_init(name: Network, init: str) -> InitConstants:
    """Return the published initial weights of a network, or raise a `UsageError` without any."""
    published = name.info.init_constants
    if init not in published:
        raise UsageError(
            f"no initial weights called '{init}' were published for {name}",
            hint=f"use --init {' or --init '.join(['he', *published])}",
        )
    return published[init]


@torch.no_grad()
def _init_published(
    network: nn.Module, constants: InitConstants, generator: torch.Generator
) -> None:
    layers = weight_layers(network)
    for layer, std, bias in zip(layers, constants.stds, constants.biases, strict=True):
        layer.weight.normal_(0.0, std, generator=generator)
        if layer.bias is not None:
            layer.bias.fill_(bias)


@torch.no_grad()
def _init_he(network: nn.Module, generator: torch.Generator) -> None:
    """Give hidden layers the variance that ReLUs preserve, the last layer N(0, 0.01), biases 0.

    Paper: weights N(0, 0.01), biases 1 in conv2, conv4, conv5 and the hidden fully connected
    layers (§5). Here: He initialisation and zero biases, because the paper's start needs inputs
    of 0–255 (mean subtracted, standard deviation about 70): on inputs of unit variance its
    logits hardly depend on the image, and the training loss stays at ln(classes).

    Source: He et al. 2015, "Delving Deep into Rectifiers", eq. 10.
    """
    layers = weight_layers(network)
    for layer in layers[:-1]:
        is_local = isinstance(layer, LocallyConnected)
        fan_in = layer.weight.shape[1] if is_local else layer.weight[0].numel()
        layer.weight.normal_(0.0, (2.0 / fan_in) ** 0.5, generator=generator)
    # The paper's scale suits the last layer: the first loss is then ln(classes).
    layers[-1].weight.normal_(0.0, 0.01, generator=generator)
    for layer in layers:
        if layer.bias is not None:
            layer.bias.zero_()
