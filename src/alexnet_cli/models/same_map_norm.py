"""Response normalisation over neighbours in the same channel."""

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
        mean = F.avg_pool2d(x_NCHW * x_NCHW, self.size, stride=1, padding=self.size // 2)
        return x_NCHW * (1 + self.alpha * mean).pow(-self.beta)

    def extra_repr(self) -> str:
        """Show the constants in `print(network)`."""
        return f"size={self.size}, alpha={self.alpha}, beta={self.beta}"
