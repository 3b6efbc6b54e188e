"""Batches on the device: shuffled, cropped and mirrored without leaving it.

The images stay on the device as uint8. Order, crops and flips are pure functions of
(seed, epoch, image), so a resumed run needs no random state.

Shape letters: N images, B batch, H height, W width, C = 3 (RGB), S side of a crop.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.image import resize_all


@dataclass(frozen=True)
class BatchSettings:
    """How a training set is dealt out.

    Attributes:
        image_size_px: Side to resize the images to.
        batch_size: Images per batch; the last batch of an epoch may be smaller.
        pad_px: Zero pixels around the image.
        flip: Whether half of the crops are mirrored.
        seed: Seed of the run.
        colour_axes: Directions RGB in which the colours of an image are changed, each as long as
            the standard deviation of the change, as rows; none: colours stay.
    """

    image_size_px: int
    batch_size: int
    pad_px: int
    flip: bool
    seed: int
    colour_axes: tuple[tuple[float, ...], ...] = ()


class Batch(NamedTuple):
    """Part of a training set, on the device.

    Attributes:
        images_BSSC: Crops, uint8, shape (B, S, S, 3).
        labels_B: Their classes, int64, shape (B,).
        colours_BC: Change of each image's colour on the scale 0–255, float32, shape (B, 3); not
            applied yet, because bytes would round and clip it.
    """

    images_BSSC: Tensor
    labels_B: Tensor
    colours_BC: Tensor | None

    def part(self, which: slice) -> "Batch":
        """Return some of its images."""
        colours = None if self.colours_BC is None else self.colours_BC[which]
        return Batch(self.images_BSSC[which], self.labels_B[which], colours)


class TrainingBatches:
    """A training set on a device, dealt out in random order as random crops.

    Paper §4.1: random 224-px crops of 256-px images and their mirror images; here the sizes are
    settings, and zero pixels may be laid around the image first.

    Args:
        arrays: The images and labels.
        settings: How to deal them out.
        device: Where the images live and the batches are made.
    """

    def __init__(
        self, arrays: ImageArrays, settings: BatchSettings, *, device: torch.device
    ) -> None:
        images_NHWC = resize_all(arrays.images_NHWC, settings.image_size_px)
        self._images_NHWC = torch.from_numpy(images_NHWC).to(device)
        self._labels_N = torch.from_numpy(arrays.labels_N).to(device)
        self._settings, self._device = settings, device

    @property
    def num_images(self) -> int:
        """Images per epoch."""
        return len(self._labels_N)

    @property
    def num_batches(self) -> int:
        """Batches per epoch."""
        return -(-self.num_images // self._settings.batch_size)

    def epoch(
        self,
        epoch: int,
        *,
        crop_size_px: int,
        first_batch: int = 0,
        part: int = 0,
        num_parts: int = 1,
    ) -> Iterator[Batch]:
        """Deal out one epoch.

        Args:
            epoch: Counted from 0; another epoch has another order and other crops.
            crop_size_px: Side S of the crops.
            first_batch: Batches to leave out at the start, when a run is resumed inside an epoch.
            part: Which share of each batch to deal out, when several processes divide them.
            num_parts: Shares of a batch; some may be empty.

        Yields:
            The batches in order.
        """
        pad_px, size = self._settings.pad_px, self._settings.batch_size
        draw = EpochDraw(
            self.num_images,
            self._settings,
            crop_size_px=crop_size_px,
            epoch=epoch,
            device=self._device,
        )
        for start in range(first_batch * size, self.num_images, size):
            batch_B = draw.order_N[start : start + size]
            chosen_B = batch_B[share_of(len(batch_B), part, num_parts)]
            images = self._images_NHWC[chosen_B]
            if pad_px:
                images = F.pad(images, (0, 0) + (pad_px,) * 4)
            crops = crop_and_flip(
                images,
                draw.corners_N2[chosen_B],
                draw.mirrored_N[chosen_B],
                size_px=crop_size_px,
            )
            yield Batch(crops, self._labels_N[chosen_B], draw.colours(chosen_B))


def share_of(num_items: int, part: int, num_parts: int) -> slice:
    """Return one of the parts of a sequence: in order, none twice, sizes differ by at most one."""
    return slice(num_items * part // num_parts, num_items * (part + 1) // num_parts)


class EpochDraw:
    """The random choices of one epoch, drawn on the CPU so that every device sees the same.

    Paper §4.1: to each pixel of an image [p1, p2, p3][α1 λ1, α2 λ2, α3 λ3]ᵀ is added, p the
    principal components of the colours of the training set, λ their variances, α ~ N(0, 0.1)
    drawn anew whenever the image is used. Here: √λ in place of λ, because the original's data
    provider calls what it multiplies with standard deviations; λ itself, in the thousands on
    the scale 0–255, would drown the image.
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
        """Return the changes of colour of some images, float32 (B, 3)."""
        return None if self._colours_NC is None else self._colours_NC[chosen_B]


def crop_and_flip(
    images_BHWC: Tensor, corners_B2: Tensor, mirrored_B: Tensor, *, size_px: int
) -> Tensor:
    """Cut a square out of each image and mirror some, in a single gather.

    Args:
        images_BHWC: Images, any dtype.
        corners_B2: int64, top and left of each crop.
        mirrored_B: bool, which crops to mirror left to right.
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
