"""The layers in which a network can be switched, as the paper compared them.

The number of layers never changes, so that the names of the weights stay.
"""

from torch import nn

from alexnet_cli.manifest import Activation, Kernels, NetworkSpec, Pool
from alexnet_cli.models.lrn import LocalResponseNorm


def activation(spec: NetworkSpec) -> nn.Module:
    """Return the nonlinearity (paper §3.1): ReLU, or the tanh it is compared with."""
    return nn.ReLU() if spec.activation is Activation.RELU else nn.Tanh()


def kernels(spec: NetworkSpec, *published: int) -> tuple[int, ...]:
    """Return how many kernels the convolutions before the last have: all, or half (paper §3.2)."""
    return tuple(number // 2 if spec.kernels is Kernels.HALF else number for number in published)


def max_pool(spec: NetworkSpec) -> nn.MaxPool2d:
    """Return 3×3 windows at stride 2, or 2×2 windows, which leave as much (paper §3.4)."""
    if spec.pool is Pool.OVERLAPPING:
        return nn.MaxPool2d(3, stride=2, ceil_mode=True)
    return nn.MaxPool2d(2, stride=2)


def lrn(spec: NetworkSpec, *, size: int = 5, alpha: float = 1e-4, k: float = 2.0) -> nn.Module:
    """Return local response normalisation (paper §3.3), or nothing in its place."""
    return LocalResponseNorm(size=size, alpha=alpha, k=k) if spec.lrn else nn.Identity()
