"""The paper's ten views inside the graph.

Shape letters: B batch, I side of an image, S side of a crop, V views, K classes.
"""

import math

import torch
from torch import Tensor, nn

from alexnet_cli.manifest import Manifest

_NUM_VIEWS = 10


class TenViews(nn.Module):
    """Five crops of a square and their mirror images, whose probabilities are averaged.

    Its logits are the logarithms of the averages: they are finite, and their softmax gives the
    averages back, so that whoever takes logits need not know of the views.

    Source: paper §4.1, as `evaluate --views 10`.

    Args:
        pixels: Takes uint8 crops (B, S, S, 3).
        crop_size_px: S.
    """

    def __init__(self, pixels: nn.Module, crop_size_px: int) -> None:
        super().__init__()
        self.pixels, self.crop_size_px = pixels, crop_size_px

    def forward(self, squares_BIIC: Tensor) -> Tensor:
        """Return log probabilities (B, K) of uint8 squares (B, I, I, 3)."""
        side = self.crop_size_px
        free = squares_BIIC.shape[1] - side
        corners = [(top, left) for top in (0, free) for left in (0, free)]
        crops = [
            squares_BIIC[:, top : top + side, left : left + side]
            for top, left in [(free // 2, free // 2), *corners]
        ]
        upright = torch.cat(crops)
        logits = self.pixels(torch.cat([upright, upright.flip(2)]))
        log_probabilities_VBK = logits.reshape(_NUM_VIEWS, -1, logits.shape[1]).log_softmax(dim=2)
        return torch.logsumexp(log_probabilities_VBK, dim=0) - math.log(_NUM_VIEWS)


def with_views(pixels: nn.Module, manifest: Manifest) -> nn.Module:
    """Return what takes the images that the manifest says: crops, or squares it cuts views of."""
    if manifest.num_views == 1:
        return pixels
    return TenViews(pixels, manifest.input.crop_size_px)
