"""Training batches on the device, in memory or streamed: the same batches, bit for bit.

Order, crops, flips and colours of an epoch are drawn by `EpochDraw` as pure functions of
(seed, epoch, image), so a resumed run needs no random state.

Shape letters: N images, B batch, S side of a crop, C = 3 (RGB).
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet_cli.data.arrays import ImageArrays, ImageSource, Indices, fits_in_memory, prefetched
from alexnet_cli.data.augment import BatchSettings, EpochDraw, crop_and_flip
from alexnet_cli.image import resize_all


class Batch(NamedTuple):
    """A batch or a micro-batch on the device."""

    images_BSSC: Tensor  # crops, uint8
    labels_B: Tensor  # int64
    colours_BC: Tensor | None  # colour noise, float32; `PixelNetwork` adds it: bytes would clip

    def take(self, which: slice) -> "Batch":
        colours = None if self.colours_BC is None else self.colours_BC[which]
        return Batch(self.images_BSSC[which], self.labels_B[which], colours)

    def split(self, max_images: int) -> "list[Batch]":
        """Return micro-batches of almost equal size, at least one; `max_images` 0: no limit."""
        num_images = len(self.labels_B)
        count = max(1, -(-num_images // (max_images or max(1, num_images))))
        return [self.take(share_of(num_images, index, count)) for index in range(count)]


def make_batches(
    source: ImageSource, settings: BatchSettings, *, device: torch.device, num_workers: int = 0
) -> "TrainingBatches":
    """Return the batches of a training set: resident on the device if it fits, else streamed.

    A set in memory that would be too large once it is resized (CIFAR-10 for `alexnet`) is streamed
    too. The batches do not depend on `num_workers`, the threads that decode images (0: one per
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

        Args:
            epoch: Counted from 0; each epoch has its own order, crops, flips and colours.
            crop_size_px: Side S of the crops.
            first_batch: Batches to skip, when a run is resumed inside an epoch.
            rank: The process, of several that share each batch.
            world_size: Number of processes; a rank's subset of a batch may be empty.

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
        chosen = [batch_B[share_of(len(batch_B), rank, world_size)] for batch_B in batches]
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
                    colours_BC = colours_BC.to(self._device)
                images_BSSC = batch.to(self._device, non_blocking=True)
                yield Batch(images_BSSC, labels_B.to(self._device), colours_BC)


def share_of(num_items: int, index: int, num_shares: int) -> slice:
    """Return one share of a sequence: in order, none twice, sizes differ by at most one."""
    return slice(num_items * index // num_shares, num_items * (index + 1) // num_shares)
