"""The network as deployed: pixels in, logits out."""

import torch
from torch import Tensor, nn

from alexnet_cli.manifest import InputSpec


class PixelNetwork(nn.Module):
    """A network together with its input scaling, for uint8 images.

    Training, evaluation and the exported graph all run this module, so that the scaling cannot
    differ between them.

    Args:
        network: Takes float (N, 3, S, S).
        spec: Scale and shift per channel.
    """

    scale_C11: Tensor
    shift_C11: Tensor

    def __init__(self, network: nn.Module, spec: InputSpec) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("scale_C11", _per_channel(spec.scale), persistent=False)
        self.register_buffer("shift_C11", _per_channel(spec.shift), persistent=False)

    def forward(self, images_NHWC: Tensor, colours_NC: Tensor | None = None) -> Tensor:
        """Return logits (N, K) of uint8 RGB images (N, S, S, 3).

        Args:
            images_NHWC: The images.
            colours_NC: In training, what is added to all pixels of an image, (N, 3).
        """
        # A permuted NHWC tensor is a channels-last NCHW tensor: no copy is made.
        pixels_NCHW = images_NHWC.permute(0, 3, 1, 2).to(self.scale_C11.dtype)
        shift = self.shift_C11
        if colours_NC is not None:
            shift = shift + colours_NC[:, :, None, None] * self.scale_C11
        logits_NK: Tensor = self.network(pixels_NCHW * self.scale_C11 + shift)
        return logits_NK


def _per_channel(values: tuple[float, float, float]) -> Tensor:
    return torch.tensor(values).view(3, 1, 1)
