"""Networks by name."""

import torch
from torch import nn

from alexnet_cli.manifest import Network, NetworkSpec
from alexnet_cli.models.alexnet import AlexNet
from alexnet_cli.models.alexnet_cifar import AlexNetCifar
from alexnet_cli.models.alexnet_cifar_bn import AlexNetCifarBN
from alexnet_cli.models.init import init_he

_CLASSES = {
    Network.ALEXNET: AlexNet,
    Network.ALEXNET_CIFAR: AlexNetCifar,
    Network.ALEXNET_CIFAR_BN: AlexNetCifarBN,
}


def build_network(spec: NetworkSpec, *, seed: int = 0) -> nn.Module:
    """Build a network with fresh weights.

    Args:
        spec: Which network, for how many classes and what input size.
        seed: Fixes the initial weights.

    Raises:
        UsageError: The input size does not suit the network.
    """
    network = _CLASSES[spec.name](spec.num_classes, spec.crop_size_px, spec.dropout)
    init_he(network, torch.Generator().manual_seed(seed))
    return network


def outline_network(spec: NetworkSpec) -> nn.Module:
    """Build a network without memory for its weights: for its shapes, and to see that it fits.

    Raises:
        UsageError: The input size does not suit the network.
    """
    with torch.device("meta"):
        return _CLASSES[spec.name](spec.num_classes, spec.crop_size_px, spec.dropout)


def num_parameters(network: nn.Module) -> int:
    """Count the trainable numbers."""
    return sum(p.numel() for p in network.parameters())
