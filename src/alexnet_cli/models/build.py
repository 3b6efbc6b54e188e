"""Initial weights.

Networks by name.
"""

import torch
from torch import Tensor, nn

from alexnet_cli.errors import UsageError
from alexnet_cli.models.alexnet import AlexNet
from alexnet_cli.models.alexnet_cifar import AlexNetCifar, AlexNetCifarBN
from alexnet_cli.models.alexnet_owt import AlexNetOWT
from alexnet_cli.models.cuda_convnet import (
    CudaConvnet11Pct,
    CudaConvnet13Pct,
    CudaConvnet18Pct,
    CudaConvnet80Sec,
)
from alexnet_cli.models.layers import LocallyConnected
from alexnet_cli.networks import FACTS, Initial, Network, NetworkSpec

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


CLASSES: dict[Network, type[nn.Module]] = {
    Network.ALEXNET: AlexNet,
    Network.ALEXNET_OWT: AlexNetOWT,
    Network.ALEXNET_CIFAR: AlexNetCifar,
    Network.ALEXNET_CIFAR_BN: AlexNetCifarBN,
    Network.CUDA_CONVNET_80SEC: CudaConvnet80Sec,
    Network.CUDA_CONVNET_19PCT: CudaConvnet18Pct,
    Network.CUDA_CONVNET_18PCT: CudaConvnet18Pct,
    Network.CUDA_CONVNET_13PCT: CudaConvnet13Pct,
    Network.CUDA_CONVNET_11PCT: CudaConvnet11Pct,
}


def build_network(spec: NetworkSpec, *, seed: int = 0, init: str = "he") -> nn.Module:
    """Build a network with fresh weights.

    Args:
        spec: Which network, for how many classes and what input size.
        seed: Fixes the initial weights.
        init: `he`, or one of the network's published ones, see `networks.FACTS`.

    Raises:
        UsageError: The input size does not suit the network, or it has no such initial weights.
    """
    network = CLASSES[spec.name](spec)
    initialise(network, spec.name, init, torch.Generator().manual_seed(seed))
    return network


def outline_network(spec: NetworkSpec) -> nn.Module:
    """Build a network without memory for its weights: for its shapes, and to see that it fits.

    Raises:
        UsageError: The input size does not suit the network.
    """
    with torch.device("meta"):
        return CLASSES[spec.name](spec)


def num_parameters(network: nn.Module) -> int:
    """Count the trainable numbers."""
    return sum(p.numel() for p in network.parameters())
