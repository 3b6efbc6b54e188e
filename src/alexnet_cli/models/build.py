"""Networks by name."""

import torch
from torch import nn

from alexnet_cli.manifest import Network, NetworkSpec
from alexnet_cli.models.alexnet import AlexNet
from alexnet_cli.models.alexnet_cifar import AlexNetCifar
from alexnet_cli.models.alexnet_cifar_bn import AlexNetCifarBN
from alexnet_cli.models.alexnet_owt import AlexNetOWT
from alexnet_cli.models.cuda_convnet import (
    CudaConvnet11Pct,
    CudaConvnet13Pct,
    CudaConvnet18Pct,
    CudaConvnet80Sec,
)
from alexnet_cli.models.init import initialise

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
