"""Local response normalisation as a graph computes it: one native node, or a convolution.

ONNX Runtime's CPU kernel of the operator `LRN` walks over the channels of each pixel and takes up
to a third of the network's time; the convolutional form uses the matrix product.

Shape letters: N batch, C channels, H height, W width.
"""

import copy

import torch
from torch import Tensor, nn

from alexnet_cli.deployment import LrnForm
from alexnet_cli.models.lrn import LocalResponseNorm

_THREE_QUARTERS = 0.75  # the paper's β, for which two square roots replace a power


class WindowConvolution(nn.Module):
    """`y = x / t^β`, where `t = k + α/n · Σ x²` is a 1×1 convolution of x² with a band matrix.

    It is written channels-last, as a product of (N·H·W, C) with (C, C): that is the layout of
    ONNX Runtime's int8 convolutions, between which nothing then has to be transposed. For β = 3/4
    the divisor is √t · √√t, two roots in place of a power. The band is computed in the graph from
    the channels' numbers, so that the file does not hold it; ONNX Runtime folds it when it loads.

    Args:
        norm: The layer with the constants.

    Source: paper §3.3 for the formula.
    """

    def __init__(self, norm: LocalResponseNorm) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = norm.size, norm.alpha, norm.beta, norm.k

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Normalise (N, C, H, W) to the same shape."""
        channel = torch.arange(x_NCHW.shape[1], dtype=torch.float32)
        is_neighbour = (channel[:, None] - channel[None, :]).abs() <= self.size // 2
        band_CC = is_neighbour.float() * (self.alpha / self.size)
        x_NHWC = x_NCHW.permute(0, 2, 3, 1)
        t = torch.matmul(x_NHWC * x_NHWC, band_CC) + self.k
        if self.beta == _THREE_QUARTERS:
            root = t.sqrt()
            y_NHWC = x_NHWC / (root * root.sqrt())
        else:
            y_NHWC = x_NHWC / t.pow(self.beta)
        return y_NHWC.permute(0, 3, 1, 2)


def choose_form(network: nn.Module, asked: LrnForm | None, *, native: bool) -> LrnForm:
    """Return how a network's normalisation will be computed.

    Args:
        network: Any network.
        asked: What the user chose, if anything.
        native: Whether the native node is the better choice where the user made none.
    """
    if not any(isinstance(module, LocalResponseNorm) for module in network.modules()):
        return LrnForm.NONE
    return asked or (LrnForm.NATIVE if native else LrnForm.CONVOLUTION)


def with_form(network: nn.Module, form: LrnForm) -> nn.Module:
    """Return the network with its normalisation layers in a form; the weights are shared.

    Args:
        network: Any network; what is no `LocalResponseNorm` stays as it is.
        form: `NATIVE` changes nothing: `LocalResponseNorm` exports itself as one node.
    """
    if form is not LrnForm.CONVOLUTION:
        return network
    tensors = [*network.parameters(), *network.buffers()]
    changed = copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})
    for parent in list(changed.modules()):
        for name, child in parent.named_children():
            if isinstance(child, LocalResponseNorm):
                setattr(parent, name, WindowConvolution(child))
    return changed
