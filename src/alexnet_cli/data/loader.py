"""Batches on the device: shuffled, cropped and mirrored without leaving it.

The images stay on the device as uint8. Order, crops and flips are pure functions of
(seed, epoch, image), so a resumed run needs no random state.

Shape letters: N images, B batch, H height, W width, C = 3 (RGB), S side of a crop.

Batches of sets larger than memory: made by threads, ahead of the network.

The draws are those of `TrainingBatches`, so both give the same batches, bit for bit.
Shape letters: N images, B batch, S side of a crop, 3 = RGB.
"""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from alexnet_cli.data.arrays import ImageArrays, ImageSource
from alexnet_cli.data.augment import BatchSettings, EpochDraw, crop_and_flip
from alexnet_cli.data.prefetch import Indices, fits_in_memory, prefetched
from alexnet_cli.image import resize_all


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


_CPU = torch.device("cpu")


class StreamingBatches:
    """A training set of any size, dealt out in random order as random crops.

    At most `BATCHES_IN_FLIGHT` batches exist at a time. On CUDA they are made in pinned memory,
    and copied while the network works on the one before.

    Args:
        source: The images and labels.
        settings: How to deal them out.
        device: Where the batches go.
        num_workers: Threads; 0: as many as cores. The batches do not depend on it.
    """

    def __init__(
        self,
        source: ImageSource,
        settings: BatchSettings,
        *,
        device: torch.device,
        num_workers: int = 0,
    ) -> None:
        self._source, self._settings = source, settings
        self._device, self._num_workers = device, num_workers

    @property
    def num_images(self) -> int:
        """Images per epoch."""
        return len(self._source)

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

        Raises:
            DataError: A file is damaged; the message names it.
        """
        size, size_px = self._settings.batch_size, self._settings.image_size_px
        draw = EpochDraw(
            self.num_images, self._settings, crop_size_px=crop_size_px, epoch=epoch, device=_CPU
        )
        order_N = draw.order_N.numpy()
        corners_N2, mirrored_N = draw.corners_N2.numpy(), draw.mirrored_N.numpy()
        pin = self._device.type == "cuda"

        def allocate(count: int) -> Tensor:
            shape = (count, crop_size_px, crop_size_px, 3)
            return torch.empty(shape, dtype=torch.uint8, pin_memory=pin)

        def fill(batch: Tensor, start: int, indices: Indices) -> None:
            crops = batch.numpy()
            squares = self._source.take(indices).squares(size_px)
            for i, (index, square) in enumerate(zip(indices, squares, strict=True), start):
                crop = self._cut(square, corners_N2[index], crop_size_px)
                crops[i] = crop[:, ::-1] if mirrored_N[index] else crop

        starts = range(first_batch * size, self.num_images, size)
        whole = [order_N[start : start + size] for start in starts]
        chosen = [batch_B[share_of(len(batch_B), part, num_parts)] for batch_B in whole]
        batches = prefetched(chosen, allocate=allocate, fill=fill, num_workers=self._num_workers)
        with contextlib.closing(batches):
            for chosen_B, batch in zip(chosen, batches, strict=True):
                labels_B = torch.from_numpy(self._source.labels_N[chosen_B]).to(self._device)
                colours_BC = draw.colours(torch.from_numpy(chosen_B))
                if colours_BC is not None:
                    colours_BC = colours_BC.to(self._device)
                yield Batch(batch.to(self._device, non_blocking=True), labels_B, colours_BC)

    def _cut(
        self, square_SSC: NDArray[np.uint8], corner: NDArray[np.int64], size_px: int
    ) -> NDArray[np.uint8]:
        top, left = corner
        if pad_px := self._settings.pad_px:
            around = (pad_px, pad_px)
            square_SSC = np.pad(square_SSC, (around, around, (0, 0)))
        return square_SSC[top : top + size_px, left : left + size_px]


def make_batches(
    source: ImageSource, settings: BatchSettings, *, device: torch.device, num_workers: int = 0
) -> TrainingBatches | StreamingBatches:
    """Return the batches of a training set: on the device where it fits, else streamed.

    What is in memory and would be too large once it is resized (CIFAR-10 for `alexnet`) is
    streamed too. The arguments are those of `StreamingBatches`.
    """
    if isinstance(source, ImageArrays) and fits_in_memory(len(source), settings.image_size_px):
        return TrainingBatches(source, settings, device=device)
    return StreamingBatches(source, settings, device=device, num_workers=num_workers)
