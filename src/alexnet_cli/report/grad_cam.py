"""Grad-CAM: where in an image the evidence for a class lies.

Source: Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", arXiv:1610.02391. Shape letters: B batch, S side of a crop, K channels, H and W of
the last convolution.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from alexnet_cli.models.layers import LocallyConnected, PixelNetwork


def grad_cam(
    model: PixelNetwork,
    images_BSS3: NDArray[np.uint8],
    classes_B: NDArray[np.int64],
    *,
    device: torch.device,
) -> NDArray[np.float32]:
    """Return a map (B, S, S) from 0 to 1 for each image: how much a place raises a class's logit.

    The channels of the last convolution are weighted by the mean gradient of the logit; what is
    left below zero speaks for other classes and counts as 0. A map without evidence is all 0.

    Args:
        model: The network, in evaluation mode.
        images_BSS3: Crops, uint8.
        classes_B: The class whose evidence is wanted, for each image.
        device: Where the network is.
    """
    kept: list[Tensor] = []

    def keep(_layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()  # the next layer may work in place

    handle = last_convolution(model).register_forward_hook(keep)
    try:
        with torch.enable_grad():
            logits_BC = model(torch.from_numpy(images_BSS3).to(device))
            chosen_B1 = torch.from_numpy(classes_B).to(device)[:, None]
            (activations_BKHW,) = kept
            # Images do not influence each other: the sum's gradient is each image's own.
            (gradients_BKHW,) = torch.autograd.grad(
                logits_BC.gather(1, chosen_B1).sum(), activations_BKHW
            )
    finally:
        handle.remove()
    weights_BK11 = gradients_BKHW.mean(dim=(2, 3), keepdim=True)
    maps_B1HW = F.relu((weights_BK11 * activations_BKHW).sum(dim=1, keepdim=True)).detach()
    maps_B1SS = F.interpolate(
        maps_B1HW, size=images_BSS3.shape[1:3], mode="bilinear", align_corners=False
    )
    highest_B111 = maps_B1SS.amax(dim=(2, 3), keepdim=True).clamp_min(1e-12)
    maps: NDArray[np.float32] = (maps_B1SS / highest_B111)[:, 0].float().cpu().numpy()
    return maps


def last_convolution(model: nn.Module) -> nn.Module:
    """Return the last convolutional or locally connected layer."""
    kinds = (nn.Conv2d, LocallyConnected)
    return [module for module in model.modules() if isinstance(module, kinds)][-1]
