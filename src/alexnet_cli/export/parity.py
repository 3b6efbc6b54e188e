"""Does the exported file answer as the trained network does?"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from alexnet_cli.devices import processor_kind
from alexnet_cli.errors import ExportError
from alexnet_cli.inference.session import Model
from alexnet_cli.manifest import ExportPrecision, Parity

MAX_LOGIT_DIFFERENCE = 1e-4
TIE = 1e-5  # top-1 may differ where the two best logits are this close


@dataclass(frozen=True)
class Limits:
    """How far a file may be from the trained network.

    Attributes:
        logit_difference: Of any logit.
        different: Share of the images with another top class; one image is always allowed.
        lost: Share of the images that are right no more, on balance; one is always allowed.
    """

    logit_difference: float
    different: float
    lost: float


LIMITS = {
    ExportPrecision.FP32: Limits(MAX_LOGIT_DIFFERENCE, 0.0, 0.0),
    ExportPrecision.FP16: Limits(float("inf"), 0.005, 0.003),
    ExportPrecision.INT8: Limits(float("inf"), 0.03, 0.01),
}


@dataclass(frozen=True)
class Compared:
    """Images on which a file is compared, none of which it was made from.

    Attributes:
        squares_BIIC: uint8 squares (B, I, I, 3), or crops where no more is needed.
        labels_B: Their classes, where they are the model's.
        name: What they are, in words.
    """

    squares_BIIC: NDArray[np.uint8]
    labels_B: NDArray[np.int64] | None = None
    name: str = "images"


def compare(network: nn.Module, model: Model, images: Compared, *, batch_size: int = 250) -> Parity:
    """Run the same images through PyTorch (float32, CPU) and through the exported file.

    Args:
        network: What was exported, in evaluation mode; takes uint8 images of the model's size.
        model: The exported file, loaded.
        images: The images, of the model's size.
        batch_size: Images per run.
    """
    largest, different = 0.0, 0
    tops: list[NDArray[np.int64]] = []
    for start in range(0, len(images.squares_BIIC), batch_size):
        batch = np.ascontiguousarray(images.squares_BIIC[start : start + batch_size])
        with torch.inference_mode():
            expected = network(torch.from_numpy(batch)).numpy()
        found = model.logits(batch)
        # np.maximum hands a NaN on, max would swallow it.
        largest = float(np.maximum(largest, np.abs(expected - found).max()))
        best_two = np.sort(expected, axis=1)[:, -2:]
        is_tie = best_two[:, -1] - best_two[:, 0] <= TIE if expected.shape[1] > 1 else False
        tops.append(np.stack([expected.argmax(1), found.argmax(1)]))
        different += int(((tops[-1][0] != tops[-1][1]) & ~is_tie).sum())
    parity = Parity(
        len(images.squares_BIIC), largest, different, images.name, processor=processor_kind()
    )
    if images.labels_B is None:
        return parity
    trained, right = (np.concatenate(tops, axis=1) == images.labels_B).sum(axis=1)
    return replace(parity, num_right=int(right), num_right_trained=int(trained))


def require_parity(
    parity: Parity, *, name: str, precision: ExportPrecision = ExportPrecision.FP32
) -> None:
    """Refuse a file that differs more than its precision explains.

    Raises:
        ExportError: A limit of `LIMITS` is passed.
    """
    limits = LIMITS[precision]
    is_exact = precision is ExportPrecision.FP32
    lost = -(parity.top1_change or 0.0) * parity.num_images
    different, allowed_lost = (
        share * parity.num_images if is_exact else max(1.0, share * parity.num_images)
        for share in (limits.different, limits.lost)
    )
    # Written so that a NaN fails.
    if (
        parity.max_logit_difference <= limits.logit_difference
        and parity.num_top1_different <= different
        # In float32 the logits say it all: of two that tie, either may come first.
        and (is_exact or lost <= allowed_lost)
    ):
        return
    change = "" if parity.top1_change is None else f", top-1 by {100 * parity.top1_change:+.2f}"
    points = " points" if change else ""
    raise ExportError(
        f"{name} ({precision}) differs from the trained network: logits by up to "
        f"{parity.max_logit_difference:.1e}, top class on {parity.num_top1_different} of "
        f"{parity.num_images} images{change}{points}; nothing was written",
        hint="update the exporter with: pip install --upgrade onnx onnxscript onnxruntime"
        if is_exact
        else "keep float32 with: alexnet export --precision fp32",
    )
