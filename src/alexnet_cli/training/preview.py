"""What a network would get to see in training, for people to look at first.

Shape letters: N images, B batch, S side of a crop, 3 = RGB.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.data.datasets import Dataset, load_training
from alexnet_cli.data.loader import Batch, make_batches
from alexnet_cli.data.prefetch import read_if_small, training_statistics
from alexnet_cli.training.checkpoint import ColourAxes
from alexnet_cli.training.schedule import crop_size_px
from alexnet_cli.training.setup import batch_settings, resolve_sizes

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class DealtImages:
    """Crops as a network gets them.

    Attributes:
        images_NSSC: uint8, shape (N, S, S, 3), their colours changed.
        labels_N: Their classes, shape (N,), by class in the order asked for.
        num_training: Images in the training set.
    """

    images_NSSC: NDArray[np.uint8]
    labels_N: NDArray[np.int64]
    num_training: int


def deal_images(
    config: TrainConfig, dataset: Dataset, *, labels: list[int], count: int, epoch: int
) -> DealtImages:
    """Deal out the first training images of some classes, by the code that training runs.

    Args:
        config: The configuration of the run that these images would be of.
        dataset: The dataset it names.
        labels: The classes to show.
        count: Most images of each.
        epoch: Counted from 0.

    Raises:
        UsageError: The sizes do not fit each other.
        DataError: A file is damaged; the message names it.
    """
    size_px, final_px = resolve_sizes(config, stored_px=dataset.image_size_px)
    train, _ = load_training(dataset, val_size=config.val_size, seed=config.seed)
    train = read_if_small(train, size_px=size_px, num_workers=0)
    axes: ColourAxes = ()
    if config.colour_noise:
        colours = training_statistics(train, size_px=size_px, seed=config.seed, num_workers=0)
        axes = colours.noise_axes(config.colour_noise)
    settings = batch_settings(config, image_size_px=size_px, colour_axes=axes)
    side_px = crop_size_px(config, final_px=final_px, epoch=epoch)
    present = Counter(train.labels_N.tolist())
    missing = {label: min(count, present[label]) for label in labels}
    found: dict[int, list[NDArray[np.uint8]]] = {label: [] for label in labels}
    batches = make_batches(train, settings, device=_CPU)
    for batch in batches.epoch(epoch, crop_size_px=side_px):
        for label, image in zip(batch.labels_B.tolist(), _as_seen(batch), strict=True):
            if missing.get(label, 0):
                missing[label] -= 1
                found[label].append(image)
        if not any(missing.values()):
            break
    labels_N = [label for label in labels for _ in found[label]]
    images = [image for label in labels for image in found[label]]
    images_NSSC = np.stack(images) if images else np.empty((0, side_px, side_px, 3), np.uint8)
    return DealtImages(images_NSSC, np.array(labels_N, np.int64), len(train))


def _as_seen(batch: Batch) -> NDArray[np.uint8]:
    """Add the changes of colour, which training adds to numbers of any size, to bytes."""
    pixels_BSSC = batch.images_BSSC.float()
    if batch.colours_BC is not None:
        pixels_BSSC += batch.colours_BC[:, None, None, :]
    seen: NDArray[np.uint8] = pixels_BSSC.round().clamp(0, 255).byte().numpy()
    return seen
