"""Grad-CAM: where in an image the evidence for a class lies.

Source: Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", arXiv:1610.02391, equations 1 and 2. Shape letters: B batch, S side of a crop,
3 = RGB, K classes, C channels, H and W of the last convolution.
"""

from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from alexnet_cli.models.build import PixelNetwork


class Evidence(NamedTuple):
    picture_SS3: NDArray[np.uint8]  # the crop in grey under the map in colours
    place: str  # where the most lies, such as "top left"; "" without any


def find_evidence(
    network: PixelNetwork,
    crops_BSS3: NDArray[np.uint8],
    classes_B: NDArray[np.int64],
    *,
    device: torch.device,
) -> list[Evidence]:
    maps_BSS = evidence_maps(network, crops_BSS3, classes_B, device=device)
    grey_BSS1 = crops_BSS3.mean(axis=-1, keepdims=True)
    colours_BSS3 = 255 * mpl.colormaps["inferno"](maps_BSS)[..., :3]
    alpha_BSS1 = 0.2 + 0.6 * maps_BSS[..., None]
    pictures_BSS3 = (grey_BSS1 + alpha_BSS1 * (colours_BSS3 - grey_BSS1)).round().astype(np.uint8)
    return list(map(Evidence, pictures_BSS3, map(_place, maps_BSS)))


def evidence_maps(
    network: PixelNetwork,
    crops_BSS3: NDArray[np.uint8],
    classes_B: NDArray[np.int64],
    *,
    device: torch.device,
) -> NDArray[np.float32]:
    """Return how much each place raises the logit of a class: (B, S, S), scaled to 0–1 by image.

    The channels of the last convolution are weighted by the mean gradient of the logit. What is
    below 0 speaks for other classes and counts as 0; a map may be 0 everywhere.

    The network is in evaluation mode.
    """
    kept: list[Tensor] = []

    def keep(_layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())  # gradients are needed from here on
        return kept[0]

    handle = _last_feature_maps(network).register_forward_hook(keep)
    try:
        logits_BK = network(torch.from_numpy(crops_BSS3).to(device))
    finally:
        handle.remove()
    chosen_B1 = torch.from_numpy(classes_B).to(device)[:, None]
    # Images do not influence each other: the gradient of the sum is that of each image's logit.
    (gradients_BCHW,) = torch.autograd.grad(logits_BK.gather(1, chosen_B1).sum(), kept)
    weights_BC11 = gradients_BCHW.mean(dim=(2, 3), keepdim=True)
    maps_B1HW = F.relu((weights_BC11 * kept[0].detach()).sum(dim=1, keepdim=True))
    maps_BSS = F.interpolate(maps_B1HW, size=crops_BSS3.shape[1:3], mode="bilinear")[:, 0]
    scaled = maps_BSS / maps_BSS.amax(dim=(1, 2), keepdim=True).clamp_min(1e-30)
    maps: NDArray[np.float32] = scaled.float().cpu().numpy()
    return maps


def _last_feature_maps(network: PixelNetwork) -> nn.Module:
    """Return the nonlinearity after the last convolution.

    Not after a locally connected layer: a channel has other weights at each place there, so that
    the mean gradient says nothing about it.
    """
    layers = list(network.get_submodule("network.features").children())
    last = max(place for place, each in enumerate(layers) if isinstance(each, nn.Conv2d))
    return next(each for each in layers[last:] if isinstance(each, nn.ReLU | nn.Tanh))


def _place(map_SS: NDArray[np.float32]) -> str:
    if not map_SS.any():
        return ""
    row, column = (
        3 * int(each) // len(map_SS) for each in np.unravel_index(map_SS.argmax(), map_SS.shape)
    )
    return f"{('top', 'middle', 'bottom')[row]} {('left', 'centre', 'right')[column]}"
