"""Data augmentation: the random order, crops, flips and colours of an epoch.

Shape letters: N images, B batch, H height, W width, C = 3 (RGB), S side of a crop.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class BatchSettings:
    """Sizes, augmentation and seed of the training batches."""

    image_size_px: int  # side to resize the images to
    batch_size: int  # the last batch of an epoch may be smaller
    pad_px: int  # zero padding before the crop
    flip: bool  # mirror half of the crops
    seed: int
    # Directions RGB of the colour noise, each as long as its standard deviation; empty: no noise.
    colour_axes: tuple[tuple[float, ...], ...] = ()


class EpochDraw:
    """The random choices of one epoch, drawn on the CPU so that every device sees the same.

    Paper §4.1: to each pixel of an image [p1, p2, p3][α1 λ1, α2 λ2, α3 λ3]ᵀ is added, p the
    principal components of the colours of the training set, λ their variances, α ~ N(0, 0.1)
    drawn anew whenever the image is used. Here: √λ in place of λ, because the original's data
    provider calls these factors standard deviations; λ itself, in the thousands on the scale
    0–255, would drown the image.
    """

    def __init__(
        self,
        num_images: int,
        settings: BatchSettings,
        *,
        crop_size_px: int,
        epoch: int,
        device: torch.device,
    ) -> None:
        free_px = settings.image_size_px + 2 * settings.pad_px - crop_size_px
        generator = np.random.default_rng([settings.seed, epoch, 0xE70C])
        order = generator.permutation(num_images)
        corners = generator.integers(0, free_px, size=(num_images, 2), endpoint=True)
        mirrored = generator.random(num_images) < (0.5 if settings.flip else 0.0)
        self.order_N = torch.from_numpy(order).to(device)
        self.corners_N2 = torch.from_numpy(corners).to(device)
        self.mirrored_N = torch.from_numpy(mirrored).to(device)
        self._colours_NC: Tensor | None = None
        if settings.colour_axes:
            alphas = generator.standard_normal((num_images, len(settings.colour_axes)))
            changes = (alphas @ np.array(settings.colour_axes)).astype(np.float32)
            self._colours_NC = torch.from_numpy(changes).to(device)

    def colours(self, chosen_B: Tensor) -> Tensor | None:
        """Return the colour changes of some images, float32 (B, 3)."""
        return None if self._colours_NC is None else self._colours_NC[chosen_B]


def crop_and_flip(
    images_BHWC: Tensor, corners_B2: Tensor, mirrored_B: Tensor, *, size_px: int
) -> Tensor:
    """Cut a square out of each image and mirror some, in a single gather.

    Args:
        images_BHWC: Images, any dtype.
        corners_B2: int64, top and left of each crop.
        mirrored_B: bool, crops to mirror left to right.
        size_px: Side S of the crops.

    Returns:
        Crops (B, S, S, C) of the same dtype, contiguous.
    """
    steps = torch.arange(size_px, device=images_BHWC.device)
    rows_BS = corners_B2[:, 0, None] + steps
    columns_BS = corners_B2[:, 1, None] + torch.where(
        mirrored_B[:, None], size_px - 1 - steps, steps
    )
    image_B11 = torch.arange(len(images_BHWC), device=images_BHWC.device)[:, None, None]
    return images_BHWC[image_B11, rows_BS[:, :, None], columns_BS[:, None, :]]
