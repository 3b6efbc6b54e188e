"""A PyTorch network as something `evaluate` can call."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from alexnet_cli.evaluation.evaluate import Logits


def torch_logits(network: nn.Module, *, device: torch.device, dtype: torch.dtype) -> Logits:
    """Wrap a network that takes uint8 images (B, S, S, 3).

    Args:
        network: Switched to evaluation mode at each call, and back to what it was.
        device: Where its weights are.
        dtype: Number format of the forward pass; float32 means no autocast.
    """

    def logits(images_BSSC: NDArray[np.uint8]) -> NDArray[np.float32]:
        was_training = network.training
        network.eval()
        images = torch.from_numpy(images_BSSC).to(device)
        autocast = torch.autocast(device.type, dtype, enabled=dtype != torch.float32)
        with torch.inference_mode(), autocast:
            result = network(images)
        network.train(was_training)
        return result.float().cpu().numpy()  # type: ignore[no-any-return]

    return logits
