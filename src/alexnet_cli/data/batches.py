"""Training batches and their augmentation: random order, crops, flips and colours.

`EpochDraw` draws them as pure functions of (seed, epoch, image), so that a resumed run needs no
random state. Batches are cut in memory or streamed: the same batches, bit for bit.

Shape letters: N images, B batch, H height, W width, C = 3 (RGB), S side of a crop.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet_cli.data.arrays import ImageArrays, ImageSource, Indices, fits_in_memory, prefetched
from alexnet_cli.image import resize_all


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

    Paper §4.1: [p1, p2, p3][α1 λ1, α2 λ2, α3 λ3]ᵀ is added to each pixel of an image. p are the
    principal components of the colours of the training set, λ their variances; α ~ N(0, 0.1) is
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


class Batch(NamedTuple):
    """A batch or a micro-batch on the device."""

    images_BSSC: Tensor  # crops, uint8
    labels_B: Tensor  # int64
    colours_BC: Tensor | None  # colour noise, float32; `PixelNetwork` adds it: bytes would clip

    def take(self, which: slice) -> "Batch":
        colours = None if self.colours_BC is None else self.colours_BC[which]
        return Batch(self.images_BSSC[which], self.labels_B[which], colours)

    def split(self, max_images: int) -> "list[Batch]":
        """Return micro-batches of almost equal size, at least one; `max_images` 0 = no limit."""
        num_images = len(self.labels_B)
        count = max(1, -(-num_images // (max_images or max(1, num_images))))
        return [self.take(split_range(num_images, index, count)) for index in range(count)]


def make_batches(
    source: ImageSource, settings: BatchSettings, *, device: torch.device, num_workers: int = 0
) -> "TrainingBatches":
    """Return the batches of a training set: resident on the device if it fits, else streamed.

    A set in memory that would be too large once it is resized (CIFAR-10 for `alexnet`) is streamed
    too. The batches do not depend on `num_workers`, the threads that decode images (0 = one per
    core).
    """
    if isinstance(source, ImageArrays) and fits_in_memory(len(source), settings.image_size_px):
        return ResidentBatches(source, settings, device=device)
    return StreamingBatches(source, settings, device=device, num_workers=num_workers)


class TrainingBatches(ABC):
    """A training set, iterated over in random order as random crops.

    Paper §4.1: random 224-px crops of 256-px images and their mirror images. Here: the sizes are
    settings, and zero padding may be added first.
    """

    def __init__(
        self,
        num_images: int,
        settings: BatchSettings,
        *,
        device: torch.device,
        draw_device: torch.device,
    ) -> None:
        self.num_images = num_images
        self._settings, self._device, self._draw_device = settings, device, draw_device

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
        rank: int = 0,
        world_size: int = 1,
    ) -> Iterator[Batch]:
        """Yield the batches of an epoch in order.

        `epoch` counts from 0; each has its own order, crops, flips and colours. `first_batch`
        batches are skipped, when a run is resumed inside an epoch. A rank's subset of a batch may
        be empty.

        Raises:
            DataError: A file is damaged; the message names it.
        """
        draw = EpochDraw(
            self.num_images,
            self._settings,
            crop_size_px=crop_size_px,
            epoch=epoch,
            device=self._draw_device,
        )
        size = self._settings.batch_size
        starts = range(first_batch * size, self.num_images, size)
        batches = (draw.order_N[start : start + size] for start in starts)
        chosen = [batch_B[split_range(len(batch_B), rank, world_size)] for batch_B in batches]
        return self._load(chosen, draw, crop_size_px)

    @abstractmethod
    def _load(self, chosen: list[Tensor], draw: EpochDraw, size_px: int) -> Iterator[Batch]:
        """Yield a batch for each tensor of image indices (B,)."""


class ResidentBatches(TrainingBatches):
    """Batches of a set that stays on the device as uint8, resized once; cropped there too."""

    def __init__(
        self, arrays: ImageArrays, settings: BatchSettings, *, device: torch.device
    ) -> None:
        super().__init__(len(arrays), settings, device=device, draw_device=device)
        images_NHWC = resize_all(arrays.images_NHWC, settings.image_size_px)
        self._images_NHWC = torch.from_numpy(images_NHWC).to(device)
        self._labels_N = torch.from_numpy(arrays.labels_N).to(device)

    def _load(self, chosen: list[Tensor], draw: EpochDraw, size_px: int) -> Iterator[Batch]:
        for chosen_B in chosen:
            images = self._images_NHWC[chosen_B]
            if pad_px := self._settings.pad_px:
                images = F.pad(images, (0, 0) + (pad_px,) * 4)
            corners_B2, mirrored_B = draw.corners_N2[chosen_B], draw.mirrored_N[chosen_B]
            crops = crop_and_flip(images, corners_B2, mirrored_B, size_px=size_px)
            yield Batch(crops, self._labels_N[chosen_B], draw.colours(chosen_B))


class StreamingBatches(TrainingBatches):
    """Batches of a set of any size, decoded and cropped by threads ahead of the network.

    At most `BATCHES_IN_FLIGHT` batches exist at a time. For CUDA they are made in pinned memory,
    and copied while the network works on the one before.
    """

    def __init__(
        self,
        source: ImageSource,
        settings: BatchSettings,
        *,
        device: torch.device,
        num_workers: int = 0,
    ) -> None:
        super().__init__(len(source), settings, device=device, draw_device=torch.device("cpu"))
        self._source, self._num_workers = source, num_workers

    def _load(self, chosen: list[Tensor], draw: EpochDraw, size_px: int) -> Iterator[Batch]:
        corners_N2, mirrored_N = draw.corners_N2.numpy(), draw.mirrored_N.numpy()
        settings, pin = self._settings, self._device.type == "cuda"
        padding = [(0, 0), (settings.pad_px,) * 2, (settings.pad_px,) * 2, (0, 0)]

        def allocate(count: int) -> Tensor:
            return torch.empty((count, size_px, size_px, 3), dtype=torch.uint8, pin_memory=pin)

        def fill(batch: Tensor, start: int, indices: Indices) -> None:
            crops = batch.numpy()
            squares = self._source.take(indices).load_images(settings.image_size_px)
            if settings.pad_px:
                squares = np.pad(squares, padding)
            for i, (index, square) in enumerate(zip(indices, squares, strict=True), start):
                top, left = corners_N2[index]
                crop = square[top : top + size_px, left : left + size_px]
                crops[i] = crop[:, ::-1] if mirrored_N[index] else crop

        batches = prefetched(
            [chosen_B.numpy() for chosen_B in chosen],
            allocate=allocate,
            fill=fill,
            num_workers=self._num_workers,
        )
        with contextlib.closing(batches):
            for chosen_B, batch in zip(chosen, batches, strict=True):
                labels_B = torch.from_numpy(self._source.labels_N[chosen_B.numpy()])
                colours_BC = draw.colours(chosen_B)
                if colours_BC is not None:
                    colours_BC = self._to_device(colours_BC)
                yield Batch(self._to_device(batch), self._to_device(labels_B), colours_BC)

    def _to_device(self, tensor: Tensor) -> Tensor:
        """Copy a tensor without waiting for it: CUDA would wait for one that is not pinned."""
        if self._device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self._device, non_blocking=True)


def split_range(num_items: int, index: int, num_splits: int) -> slice:
    """Return a slice of a sequence: in order, none twice, sizes differ by at most one."""
    return slice(num_items * index // num_splits, num_items * (index + 1) // num_splits)
