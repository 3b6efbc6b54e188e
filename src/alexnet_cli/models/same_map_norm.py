"""Response normalisation over neighbours in the same channel."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SameMapNorm(nn.Module):
    """Divide each activity by a power of the mean square of its neighbourhood.

    `y = x / (1 + α · Σ x² / size²)^β`, the sum over the size × size pixels around it in the same
    channel, zeros beyond the border.

    Source: cuda-convnet's layer type `rnorm`; Caffe's `LRN` with `WITHIN_CHANNEL`.

    Args:
        size: Side of the neighbourhood in pixels, odd.
        alpha: Before the division by `size`².
        beta: Exponent.
    """

    def __init__(self, size: int = 3, alpha: float = 5e-5, beta: float = 0.75) -> None:
        super().__init__()
        self.size, self.alpha, self.beta = size, alpha, beta

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Normalise (N, C, H, W) to the same shape."""
        # In float32 at least: beside 1, bfloat16 would not see what is added.
        x = x_NCHW.to(torch.promote_types(x_NCHW.dtype, torch.float32))
        mean = F.avg_pool2d(x * x, self.size, stride=1, padding=self.size // 2)
        return (x * (1 + self.alpha * mean).pow(-self.beta)).to(x_NCHW.dtype)

    def extra_repr(self) -> str:
        """Show the constants in `print(network)`."""
        return f"size={self.size}, alpha={self.alpha}, beta={self.beta}"
