"""A convolution's connections without its shared weights.

Shape letters: N batch, C input channels, O output channels, H height, W width, L = H·W positions,
P = 9·C inputs of a unit.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LocallyConnected(nn.Module):
    """Units that see 3×3 pixels, as in a padded convolution, with weights of their own.

    Source: cuda-convnet's layer type `local`, filter size 3, padding 1, a bias for each unit.

    Args:
        in_channels: Channels C of the input.
        out_channels: Channels O of the output.
        side_px: Side H = W of input and output: each position has its weights.
    """

    kernel_size, stride, padding, groups = (3, 3), (1, 1), (1, 1), 1

    def __init__(self, in_channels: int, out_channels: int, side_px: int) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.side_px = in_channels, out_channels, side_px
        positions = side_px * side_px
        self.weight = nn.Parameter(torch.empty(positions, 9 * in_channels, out_channels))
        self.bias = nn.Parameter(torch.empty(out_channels, side_px, side_px))
        nn.init.normal_(self.weight, std=(9 * in_channels) ** -0.5)
        nn.init.zeros_(self.bias)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return (N, O, H, W) of (N, C, H, W)."""
        side = self.side_px
        padded = F.pad(x_NCHW, (1, 1, 1, 1))
        shifted = [padded[:, :, i : i + side, j : j + side] for i in range(3) for j in range(3)]
        patches_NPL = torch.cat(shifted, dim=1).flatten(2)
        # One matrix product for each position: (L, N, P) × (L, P, O).
        out_LNO = torch.bmm(patches_NPL.permute(2, 0, 1), self.weight)
        out_NOHW = out_LNO.permute(1, 2, 0).reshape(-1, self.out_channels, side, side)
        return out_NOHW + self.bias

    def extra_repr(self) -> str:
        """Show the sizes in `print(network)`."""
        return f"{self.in_channels}, {self.out_channels}, side_px={self.side_px}"
