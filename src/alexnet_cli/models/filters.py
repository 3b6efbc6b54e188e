"""The weights of the first layer, to be looked at. Shape letters: F filters, S side, 3 = RGB."""

import numpy as np
from numpy.typing import NDArray
from torch import nn


def first_filters(network: nn.Module) -> NDArray[np.float32]:
    """Return the weights of the first convolution, float32 (F, S, S, 3)."""
    first = next(each for each in network.modules() if isinstance(each, nn.Conv2d))
    filters: NDArray[np.float32] = first.weight.detach().float().cpu().permute(0, 2, 3, 1).numpy()
    return filters


def normalised(filters_FSS3: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each filter by itself from 0, its least weight, to 1, its greatest."""
    low = filters_FSS3.min(axis=(1, 2, 3), keepdims=True)
    spread = filters_FSS3.max(axis=(1, 2, 3), keepdims=True) - low
    scaled: NDArray[np.float32] = (filters_FSS3 - low) / np.maximum(spread, np.float32(1e-30))
    return scaled
