"""Local response normalisation across channels (paper §3.3), fast forward and backward.

Shape letters: N batch, C channels, H height, W width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LocalResponseNorm(nn.Module):
    """Divide each activity by a power of the summed squares of its neighbour channels.

    `y_c = x_c / (k + α/n · Σ x_j²)^β`, the sum over the n channels centred on c.

    Paper: the formula prints α·Σ. Here: α/n·Σ, because the original code divides by the
    window size, as `torch.nn.LocalResponseNorm` and the ONNX operator `LRN` do.

    Why not `torch.nn.LocalResponseNorm`: it averages through a 3-D pooling of a padded copy, and
    was the slowest part of the whole network. Here the window sum is a 1×1 convolution of x² with
    a band matrix, and the backward pass is written out: it reuses the forward's roots and the
    same (symmetric) band.

    Source: paper §3.3; `computerhistory/AlexNet-Source-Code`, layer type `cmrnorm`.
    """

    band_OI11: Tensor

    def __init__(
        self,
        num_channels: int,
        *,
        size: int = 5,
        alpha: float = 1e-4,
        beta: float = 0.75,
        k: float = 2.0,
    ) -> None:
        super().__init__()
        if size % 2 == 0:
            raise ValueError(f"size must be odd to have a centre, not {size}")
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k
        channel = torch.arange(num_channels)
        is_neighbour = (channel[:, None] - channel[None, :]).abs() <= size // 2
        # Rebuilt from the arguments, therefore not part of the weights. Zeros and ones are exact
        # in every dtype; α/n is multiplied in at the dtype of the input.
        self.register_buffer("band_OI11", is_neighbour.float()[:, :, None, None], persistent=False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Normalise (N, C, H, W) to the same shape and dtype."""
        if torch.onnx.is_in_onnx_export():
            # One native node instead of the nine that this computation decomposes into.
            node: Tensor = torch.onnx.ops.symbolic(
                "LRN",
                (x_NCHW,),
                {"size": self.size, "alpha": self.alpha, "beta": self.beta, "bias": self.k},
                dtype=x_NCHW.dtype,
                shape=x_NCHW.shape,
            )
            return node
        band = self.band_OI11.to(x_NCHW.dtype) * (self.alpha / self.size)
        result: Tensor = _BandLRN.apply(x_NCHW, band, self.k, self.beta)
        return result

    def extra_repr(self) -> str:
        """Show the constants in `print(network)`."""
        return f"size={self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class _BandLRN(torch.autograd.Function):
    """`y = x · d^-β` with `d = k + band∗x²`.

    dL/dx = g·d^-β - 2β · x · bandᵀ∗(g·x·d^-(β+1)), and the band is symmetric.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, band: Tensor, k: float, beta: float) -> Tensor:
        d = F.conv2d(x * x, band).add_(k)
        if beta == 0.75:
            inverse = d.rsqrt_()  # d^-1/2: three cheap roots instead of a general power
            power = inverse.sqrt().mul_(inverse)
            inverse = inverse.mul_(inverse)
        else:
            power = d.pow(-beta)
            inverse = d.reciprocal_()
        ctx.save_for_backward(x, band, power, inverse)
        ctx.beta = beta
        return x * power

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        x, band, power, inverse = ctx.saved_tensors
        direct = grads[0] * power
        through_window = F.conv2d((direct * x).mul_(inverse), band)
        return direct.sub_(through_window.mul_(x).mul_(2.0 * ctx.beta)), None, None, None
