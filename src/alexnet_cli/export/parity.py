"""Does the exported file answer as the trained network does?"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from alexnet_cli.errors import ExportError
from alexnet_cli.inference.session import Model

MAX_LOGIT_DIFFERENCE = 1e-4
TIE = 1e-5  # top-1 may differ where the two best logits are this close


@dataclass(frozen=True)
class Parity:
    """How far the two runtimes are apart.

    Attributes:
        num_images: Images compared.
        max_logit_difference: Largest absolute difference of a logit.
        num_top1_different: Images with another top class, near ties left out.
    """

    num_images: int
    max_logit_difference: float
    num_top1_different: int


def compare(
    pixel_network: nn.Module, model: Model, images_BSSC: NDArray[np.uint8], *, batch_size: int = 250
) -> Parity:
    """Run the same images through PyTorch (float32, CPU) and through the exported file.

    Args:
        pixel_network: The network that was exported, in evaluation mode.
        model: The exported file, loaded.
        images_BSSC: uint8 crops (B, S, S, 3).
        batch_size: Images per run.
    """
    largest, different = 0.0, 0
    for start in range(0, len(images_BSSC), batch_size):
        batch = np.ascontiguousarray(images_BSSC[start : start + batch_size])
        with torch.inference_mode():
            expected = pixel_network(torch.from_numpy(batch)).numpy()
        found = model.logits(batch)
        # np.maximum hands a NaN on, max would swallow it.
        largest = float(np.maximum(largest, np.abs(expected - found).max()))
        best_two = np.sort(expected, axis=1)[:, -2:]
        is_tie = best_two[:, -1] - best_two[:, 0] <= TIE if expected.shape[1] > 1 else False
        different += int(((expected.argmax(1) != found.argmax(1)) & ~is_tie).sum())
    return Parity(len(images_BSSC), largest, different)


def require_parity(parity: Parity, *, name: str) -> None:
    """Refuse a file that differs.

    Raises:
        ExportError: A logit differs by more than `MAX_LOGIT_DIFFERENCE`, or a top class differs.
    """
    # Written so that a NaN fails.
    if parity.max_logit_difference <= MAX_LOGIT_DIFFERENCE and parity.num_top1_different == 0:
        return
    raise ExportError(
        f"{name} differs from the trained network: logits by up to "
        f"{parity.max_logit_difference:.1e}, top class on {parity.num_top1_different} of "
        f"{parity.num_images} images; nothing was written",
        hint="update the exporter with: pip install --upgrade onnx onnxscript",
    )
