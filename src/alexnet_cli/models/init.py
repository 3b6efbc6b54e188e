"""Initial weights."""

import torch
from torch import Tensor, nn

from alexnet_cli.errors import UsageError
from alexnet_cli.manifest import Network
from alexnet_cli.models.locally_connected import LocallyConnected
from alexnet_cli.networks import FACTS, Initial

WeightLayer = nn.Conv2d | nn.Linear | LocallyConnected


def weight_layers(network: nn.Module) -> list[WeightLayer]:
    """Return the convolutions, locally and fully connected layers, from input to output."""
    return [m for m in network.modules() if isinstance(m, WeightLayer)]


def initialise(network: nn.Module, name: Network, init: str, generator: torch.Generator) -> None:
    """Draw the weights that training starts from.

    Args:
        network: Changed in place.
        name: Which network it is.
        init: `he`, `paper` (§5: N(0, 0.01), some biases 1) or `released` (as in its published
            source).
        generator: The source of randomness, on the CPU.

    Raises:
        UsageError: Nothing of that name was published for the network.
    """
    if init == "he":
        init_he(network, generator)
        return
    constants = published(name, init)
    layers = weight_layers(network)
    with torch.no_grad():
        for layer, std, bias in zip(layers, constants.stds, constants.biases, strict=True):
            _draw(layer.weight, std, generator)
            if layer.bias is not None:
                layer.bias.fill_(bias)


def published(name: Network, init: str) -> Initial:
    """Return the published initial weights of a network.

    Raises:
        UsageError: Nothing of that name was published for it.
    """
    known = FACTS[name].initial
    if init not in known:
        raise UsageError(
            f"no initial weights called '{init}' were published for {name}",
            hint=f"use --init {' or --init '.join(['he', *known])}",
        )
    return known[init]


def init_he(network: nn.Module, generator: torch.Generator) -> None:
    """Give hidden layers the variance that ReLUs preserve, the last layer N(0, 0.01), biases 0.

    Paper: weights N(0, 0.01), biases 1 in conv2, conv4, conv5 and the hidden fully connected
    layers (§5). Here: He's initialisation and zero biases, because the paper's start needs
    inputs of 0–255 (mean subtracted, standard deviation about 70): on inputs of unit variance
    its logits hardly depend on the image, and training sits at ln(classes).

    Args:
        network: Changed in place.
        generator: The source of randomness, on the CPU.

    Source: He et al. 2015, "Delving Deep into Rectifiers", eq. 10.
    """
    layers = weight_layers(network)
    with torch.no_grad():
        for layer in layers[:-1]:
            _draw(layer.weight, (2.0 / _fan_in(layer)) ** 0.5, generator)
        # The paper's scale suits the last layer: the first loss is then ln(classes).
        _draw(layers[-1].weight, 0.01, generator)
        for layer in layers:
            if layer.bias is not None:
                layer.bias.zero_()


def _draw(weight: Tensor, std: float, generator: torch.Generator) -> None:
    weight.normal_(0.0, std, generator=generator)


def _fan_in(layer: WeightLayer) -> int:
    if isinstance(layer, LocallyConnected):
        return layer.weight.shape[1]
    return layer.weight[0].numel()
