"""Comparison of an exported file with the trained network, and how far it may differ."""

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
_TIE = 1e-5  # top-1 may differ where the two best logits are this close


@dataclass(frozen=True)
class _Limits:
    logit_difference: float  # of any logit
    different: float  # fraction of the images with another top class
    lost: float  # fall of top-1 accuracy, 0–1


_LIMITS = {
    ExportPrecision.FP32: _Limits(MAX_LOGIT_DIFFERENCE, 0.0, 0.0),
    ExportPrecision.FP16: _Limits(float("inf"), 0.005, 0.003),
    ExportPrecision.INT8: _Limits(float("inf"), 0.03, 0.01),
}


@dataclass(frozen=True)
class Compared:
    """Images on which a file is compared, none of which it was made from."""

    squares_BIIC: NDArray[np.uint8]  # (B, I, I, 3), or crops where no more is needed
    labels_B: NDArray[np.int64] | None = None  # none if the classes are not the model's
    name: str = "images"  # for people


def compare(network: nn.Module, model: Model, images: Compared, *, batch_size: int = 250) -> Parity:
    """Run the same images through PyTorch (float32, CPU) and through the exported file.

    Args:
        network: The trained network in evaluation mode; takes uint8 images of the model's size.
        model: The exported file.
        images: Images of the model's size.
        batch_size: Images per run.
    """
    squares_BIIC, num_images = images.squares_BIIC, len(images.squares_BIIC)
    expected, found = [], []
    for start in range(0, num_images, batch_size):
        batch = np.ascontiguousarray(squares_BIIC[start : start + batch_size])
        with torch.inference_mode():
            expected.append(network(torch.from_numpy(batch)).numpy())
        found.append(model.logits(batch))
    expected_BK, found_BK = np.concatenate(expected), np.concatenate(found)
    best_two = np.sort(expected_BK, axis=1)[:, -2:]
    is_tie_B = best_two[:, -1] - best_two[:, 0] <= _TIE
    expected_B, found_B = expected_BK.argmax(axis=1), found_BK.argmax(axis=1)
    parity = Parity(
        num_images=num_images,
        max_logit_difference=float(np.abs(expected_BK - found_BK).max()),
        num_top1_different=int(((expected_B != found_B) & ~is_tie_B).sum()),
        images=images.name,
        processor=processor_kind(),
    )
    if images.labels_B is None:
        return parity
    return replace(
        parity,
        num_right=int((found_B == images.labels_B).sum()),
        num_right_trained=int((expected_B == images.labels_B).sum()),
    )


def require_parity(
    parity: Parity, *, name: str, precision: ExportPrecision = ExportPrecision.FP32
) -> None:
    """Refuse a file that differs more than its precision explains.

    Raises:
        ExportError: It does; of few images, one may always have another top class.
    """
    limits, num_images = _LIMITS[precision], parity.num_images
    is_exact = precision is ExportPrecision.FP32
    num_lost = -(parity.top1_change or 0.0) * num_images
    num_free = 0 if is_exact else 1
    # Written so that a NaN fails.
    if (
        parity.max_logit_difference <= limits.logit_difference
        and parity.num_top1_different <= max(num_free, limits.different * num_images)
        # In float32 the logits decide: of two that tie, either may come first.
        and (is_exact or num_lost <= max(num_free, limits.lost * num_images))
    ):
        return
    change = parity.top1_change
    points = "" if change is None else f", top-1 by {100 * change:+.2f} points"
    raise ExportError(
        f"{name} ({precision}) differs from the trained network: logits by up to "
        f"{parity.max_logit_difference:.1e}, top class on {parity.num_top1_different} of "
        f"{parity.num_images} images{points}; nothing was written",
        hint="update the exporter with: pip install --upgrade onnx onnxscript onnxruntime"
        if is_exact
        else "keep float32 with: alexnet export --precision fp32",
    )
