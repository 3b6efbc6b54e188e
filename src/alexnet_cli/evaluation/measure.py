"""Evaluation of a classifier on labelled images: each image counted once, in any runtime.

The probabilities of several views of an image are averaged. Source: paper §4.1: "five 224×224
patches (the four corner patches and the center patch) as well as their horizontal reflections".

Shape letters: N images, B batch, S side of a crop, K classes.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.data.arrays import ImageSource
from alexnet_cli.data.prefetch import iterate_images
from alexnet_cli.errors import UsageError
from alexnet_cli.evaluation.metrics import (
    NO_CLASS,
    Calibration,
    ClassMetrics,
    calibration,
    class_metrics,
    confusion_matrix,
    in_top_k,
    mean_negative_log_likelihood,
    predicted_classes,
    softmax,
    wilson_interval,
)
from alexnet_cli.image import crop_centre
from alexnet_cli.manifest import InputSpec, Manifest

VIEW_COUNTS = (1, 5, 9, 10)
Logits = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""A model, whatever runs it: uint8 crops (B, S, S, 3), or squares that it makes views of, to logits
(B, K) whose softmax is its answer."""


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation; shares are 0–1.

    Attributes:
        num_images: Images counted.
        num_unanswered: Images whose answer is no number; counted as wrong, in `confusion` nowhere.
        top1: Share whose most probable class is right.
        top1_interval: Wilson's 95 % interval of `top1`.
        top5: Share whose class is among the five most probable.
        loss: Mean negative log-likelihood in nats.
        num_views: Crops averaged per image.
        classes: Per-class table.
        confusion: Counts by true class, then predicted class.
        calibration: Confidence against accuracy.
    """

    num_images: int
    num_unanswered: int
    top1: float
    top1_interval: tuple[float, float]
    top5: float
    loss: float
    num_views: int
    classes: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]
    calibration: Calibration

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data for JSON; a loss that is no number is none."""
        loss = self.loss if math.isfinite(self.loss) else None
        return dataclasses.asdict(self) | {"loss": loss}


def evaluate(  # noqa: PLR0913 - settings, each named at the call
    model: Logits,
    source: ImageSource,
    *,
    spec: InputSpec,
    classes: tuple[str, ...],
    num_views: int = 1,
    makes_views: bool = False,
    batch_size: int = 500,
    num_workers: int = 0,
    on_batch: Callable[[int], None] = lambda _: None,
) -> Evaluation:
    """Evaluate a model.

    Args:
        model: The model.
        source: The labelled images, in memory or not.
        spec: Image and crop size; scaling is the model's own affair.
        classes: Names in label order.
        num_views: Crops per image whose probabilities are averaged.
        makes_views: Whether the model does that itself, of whole squares.
        batch_size: Images per call of the model.
        num_workers: Threads that make images ready; 0: as many as cores.
        on_batch: Called with the number of images after each batch.
    """
    probabilities_NK = predict_probabilities(
        model,
        source,
        spec=spec,
        num_views=num_views,
        makes_views=makes_views,
        batch_size=batch_size,
        num_workers=num_workers,
        on_batch=on_batch,
    )
    return summarise(probabilities_NK, source.labels_N, classes=classes, num_views=num_views)


def predict_probabilities(  # noqa: PLR0913 - settings, each named at the call
    model: Logits,
    source: ImageSource,
    *,
    spec: InputSpec,
    num_views: int = 1,
    makes_views: bool = False,
    batch_size: int = 500,
    num_workers: int = 0,
    on_batch: Callable[[int], None] = lambda _: None,
) -> NDArray[np.float64]:
    """Return the probability of each class for each image, in the order of the images.

    The arguments are those of `evaluate`.

    Returns:
        Float64, shape (N, K); rows sum to 1, or are NaN where the model's answer is no number.
    """
    crop_px = spec.image_size_px if makes_views else spec.crop_size_px
    num_crops = 1 if makes_views else num_views
    batches = iterate_images(
        source, size_px=spec.image_size_px, batch_size=batch_size, num_workers=num_workers
    )
    with contextlib.closing(batches):
        return np.concatenate(
            [
                _mean_probabilities(model, squares_BHWC, crop_px, num_crops, on_batch)
                for squares_BHWC in batches
            ]
        )


def _mean_probabilities(
    model: Logits,
    squares_BHWC: NDArray[np.uint8],
    crop_size_px: int,
    num_views: int,
    on_batch: Callable[[int], None],
) -> NDArray[np.float64]:
    views = views_of(squares_BHWC, crop_size_px=crop_size_px, num_views=num_views)
    total = sum(softmax(model(np.ascontiguousarray(view))) for view in views)
    on_batch(len(squares_BHWC))
    return np.asarray(total) / num_views


def summarise(
    probabilities_NK: NDArray[np.float64],
    labels_N: NDArray[np.int64],
    *,
    classes: tuple[str, ...],
    num_views: int,
) -> Evaluation:
    """Turn probabilities into the numbers to report."""
    hits = in_top_k(probabilities_NK, labels_N, 1)
    predictions_N = predicted_classes(probabilities_NK)
    confusion = confusion_matrix(labels_N, predictions_N, len(classes))
    return Evaluation(
        num_images=len(labels_N),
        num_unanswered=int((predictions_N == NO_CLASS).sum()),
        top1=float(hits.mean()),
        top1_interval=wilson_interval(int(hits.sum()), len(labels_N)),
        top5=float(in_top_k(probabilities_NK, labels_N, 5).mean()),
        loss=mean_negative_log_likelihood(probabilities_NK, labels_N),
        num_views=num_views,
        classes=class_metrics(confusion, labels_N, classes),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        calibration=calibration(probabilities_NK, labels_N),
    )


def views_of(
    images_NHWC: NDArray[np.uint8], *, crop_size_px: int, num_views: int
) -> Iterator[NDArray[np.uint8]]:
    """Cut each view out of all images.

    Args:
        images_NHWC: uint8, shape (N, H, W, 3) with H, W ≥ `crop_size_px`.
        crop_size_px: Side S of the crops.
        num_views: 1 (the centre), 5 (the corners too), 10 (and their mirror images), or 9 (a grid
            of three by three, as in cuda-convnet2's test on CIFAR-10).

    Yields:
        uint8 arrays (N, S, S, 3), the centre first.

    Raises:
        UsageError: Another number of views.
    """
    if num_views not in VIEW_COUNTS:
        raise UsageError(f"cannot make {num_views} views", hint="use --views 1, 5, 9 or 10")
    if num_views == 9:
        yield from _grid(images_NHWC, crop_size_px)
        return
    centre = crop_centre(images_NHWC, crop_size_px)
    yield centre
    if num_views == 1:
        return
    top_left, bottom_right = slice(None, crop_size_px), slice(-crop_size_px, None)
    crops = [
        images_NHWC[:, y, x] for y in (top_left, bottom_right) for x in (top_left, bottom_right)
    ]
    yield from crops
    if num_views == 10:
        for crop in (centre, *crops):
            yield crop[:, :, ::-1]


def _grid(images_NHWC: NDArray[np.uint8], crop_size_px: int) -> Iterator[NDArray[np.uint8]]:
    tops, lefts = (
        [(free * step) // 2 for step in (1, 0, 2)]
        for free in (side - crop_size_px for side in images_NHWC.shape[1:3])
    )
    for top in tops:
        for left in lefts:
            yield images_NHWC[:, top : top + crop_size_px, left : left + crop_size_px]


@dataclass(frozen=True)
class OpenedModel:
    """A model that can be called, whatever runs it.

    Attributes:
        path: What it was read from.
        label: What to call it.
        manifest: Its description.
        logits: uint8 images (B, S, S, 3), S the manifest's `input_side_px`, to logits (B, K).
        note: Something the user should know, such as why no GPU is used.
    """

    path: Path
    label: str
    manifest: Manifest
    logits: Callable[[Any], Any]
    note: str | None = None
