"""A convolution's connections without its shared weights.

Shape letters: N batch, C input channels, O output channels, H height, W width, L = H·W positions,
P = 9·C inputs of a unit.

Response normalisation over neighbours in the same channel.

The network as deployed: pixels in, logits out.

The layers in which a network can be switched, as the paper compared them.

The number of layers never changes, so that the names of the weights stay.

The weights of the first layer, to be looked at. Shape letters: F filters, S side, 3 = RGB.

A PyTorch network as something `evaluate` can call.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from alexnet_cli.manifest import InputSpec
from alexnet_cli.models.lrn import LocalResponseNorm
from alexnet_cli.networks import Activation, Kernels, NetworkSpec, Pool


class LocallyConnected(nn.Module):
    """Units that see 3×3 pixels, as in a padded convolution, with weights of their own.

    Source: cuda-convnet's layer type `local`, filter size 3, padding 1, a bias for each unit.

    Args:
        in_channels: Channels C of the input.
        out_channels: Channels O of the output.
        side_px: Side H = W of input and output: each position has its weights.
    """

    kernel_size, stride, padding, groups = (3, 3), (1, 1), (1, 1), 1

    def __init__(self, in_channels: int, out_channels: int, side_px: int) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.side_px = in_channels, out_channels, side_px
        positions = side_px * side_px
        self.weight = nn.Parameter(torch.empty(positions, 9 * in_channels, out_channels))
        self.bias = nn.Parameter(torch.empty(out_channels, side_px, side_px))
        nn.init.normal_(self.weight, std=(9 * in_channels) ** -0.5)
        nn.init.zeros_(self.bias)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return (N, O, H, W) of (N, C, H, W)."""
        side = self.side_px
        padded = F.pad(x_NCHW, (1, 1, 1, 1))
        shifted = [padded[:, :, i : i + side, j : j + side] for i in range(3) for j in range(3)]
        patches_NPL = torch.cat(shifted, dim=1).flatten(2)
        # One matrix product for each position: (L, N, P) × (L, P, O).
        out_LNO = torch.bmm(patches_NPL.permute(2, 0, 1), self.weight)
        out_NOHW = out_LNO.permute(1, 2, 0).reshape(-1, self.out_channels, side, side)
        return out_NOHW + self.bias

    def extra_repr(self) -> str:
        """Show the sizes in `print(network)`."""
        return f"{self.in_channels}, {self.out_channels}, side_px={self.side_px}"


class SameMapNorm(nn.Module):
    """Divide each activity by a power of the mean square of its neighbourhood.

    `y = x / (1 + α · Σ x² / size²)^β`, the sum over the size × size pixels around it in the same
    channel, zeros beyond the border.

    Source: cuda-convnet's layer type `rnorm`; Caffe's `LRN` with `WITHIN_CHANNEL`.

    Args:
        size: Side of the neighbourhood in pixels, odd.
        alpha: Before the division by `size`².
        beta: Exponent.
    """

    def __init__(self, size: int = 3, alpha: float = 5e-5, beta: float = 0.75) -> None:
        super().__init__()
        self.size, self.alpha, self.beta = size, alpha, beta

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Normalise (N, C, H, W) to the same shape."""
        # In float32 at least: beside 1, bfloat16 would not see what is added.
        x = x_NCHW.to(torch.promote_types(x_NCHW.dtype, torch.float32))
        mean = F.avg_pool2d(x * x, self.size, stride=1, padding=self.size // 2)
        return (x * (1 + self.alpha * mean).pow(-self.beta)).to(x_NCHW.dtype)

    def extra_repr(self) -> str:
        """Show the constants in `print(network)`."""
        return f"size={self.size}, alpha={self.alpha}, beta={self.beta}"


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


def activation(spec: NetworkSpec) -> nn.Module:
    """Return the nonlinearity (paper §3.1): ReLU, or the tanh it is compared with."""
    return nn.ReLU() if spec.activation is Activation.RELU else nn.Tanh()


def kernels(spec: NetworkSpec, *published: int) -> tuple[int, ...]:
    """Return how many kernels the convolutions before the last have: all, or half (paper §3.2)."""
    return tuple(number // 2 if spec.kernels is Kernels.HALF else number for number in published)


def max_pool(spec: NetworkSpec) -> nn.MaxPool2d:
    """Return 3×3 windows at stride 2, or 2×2 windows, which leave as much (paper §3.4)."""
    if spec.pool is Pool.OVERLAPPING:
        return nn.MaxPool2d(3, stride=2, ceil_mode=True)
    return nn.MaxPool2d(2, stride=2)


def lrn(spec: NetworkSpec, *, size: int = 5, alpha: float = 1e-4, k: float = 2.0) -> nn.Module:
    """Return local response normalisation (paper §3.3), or nothing in its place."""
    return LocalResponseNorm(size=size, alpha=alpha, k=k) if spec.lrn else nn.Identity()


def first_filters(network: nn.Module) -> NDArray[np.float32]:
    """Return the weights of the first convolution, float32 (F, S, S, 3)."""
    first = next(each for each in network.modules() if isinstance(each, nn.Conv2d))
    filters: NDArray[np.float32] = first.weight.detach().float().cpu().permute(0, 2, 3, 1).numpy()
    return filters


def normalised(filters_FSS3: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each filter by itself from 0, its least weight, to 1, its greatest."""
    low = filters_FSS3.min(axis=(1, 2, 3), keepdims=True)
    spread = filters_FSS3.max(axis=(1, 2, 3), keepdims=True) - low
    scaled: NDArray[np.float32] = (filters_FSS3 - low) / np.maximum(spread, np.float32(1e-30))
    return scaled


def torch_logits(
    network: nn.Module, *, device: torch.device, dtype: torch.dtype
) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
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
