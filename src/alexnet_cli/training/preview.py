"""A preview of the images that a network would see in training.

Shape letters: N images, B batch, S side of a crop, 3 = RGB.
"""

from collections import Counter

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.data.arrays import load_if_fits, training_statistics
from alexnet_cli.data.batches import Batch, make_batches
from alexnet_cli.data.datasets import Dataset, load_training
from alexnet_cli.training.checkpoint import ColourAxes
from alexnet_cli.training.schedule import crop_size_px
from alexnet_cli.training.setup import batch_settings, resolve_sizes

_CPU = torch.device("cpu")


def augmented_images(
    config: TrainConfig, dataset: Dataset, *, labels: list[int], count: int, epoch: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64], int]:
    """Return the first images of some classes in an epoch of training, at most `count` of each.

    Returns:
        The images, uint8 (N, S, S, 3); their classes (N,), in the order of `labels`; the number of
        images in the training set.

    Raises:
        UsageError: The sizes do not fit each other.
        DataError: A file is damaged; the message names it.
    """
    size_px, final_px = resolve_sizes(config, stored_px=dataset.image_size_px)
    train, _ = load_training(dataset, val_size=config.val_size, seed=config.seed)
    train = load_if_fits(train, size_px=size_px, num_workers=0)
    axes: ColourAxes = ()
    if config.colour_noise:
        colours = training_statistics(train, size_px=size_px, seed=config.seed, num_workers=0)
        axes = colours.noise_axes(config.colour_noise)
    side_px = crop_size_px(config, final_px=final_px, epoch=epoch)
    present = Counter(train.labels_N.tolist())
    wanted = {label: min(count, present[label]) for label in labels}
    found: dict[int, list[NDArray[np.uint8]]] = {label: [] for label in labels}
    batches = make_batches(train, batch_settings(config, size_px, axes), device=_CPU)
    for batch in batches.epoch(epoch, crop_size_px=side_px):
        for label, image in zip(batch.labels_B.tolist(), _with_colours(batch), strict=True):
            if label in found and len(found[label]) < wanted[label]:
                found[label].append(image)
        if all(len(found[label]) == wanted[label] for label in labels):
            break
    labels_N = np.array([label for label in labels for _ in found[label]], np.int64)
    images = [image for label in labels for image in found[label]]
    images_NSSC = np.stack(images) if images else np.empty((0, side_px, side_px, 3), np.uint8)
    return images_NSSC, labels_N, len(train)


def _with_colours(batch: Batch) -> NDArray[np.uint8]:
    """Return a batch as bytes with its colour changes, which training adds to floats."""
    pixels_BSSC = batch.images_BSSC.float()
    if batch.colours_BC is not None:
        pixels_BSSC += batch.colours_BC[:, None, None, :]
    seen: NDArray[np.uint8] = pixels_BSSC.round().clamp(0, 255).byte().numpy()
    return seen
