"""Networks: their building blocks, a network by name, its initial weights, its input scaling.

Shape letters: N batch, C input channels, O output channels, H height, W width, S side, L = H·W
positions, P = 9·C inputs of a unit, K classes, F filters, 3 = RGB.
"""

import pkgutil
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from alexnet_cli.errors import UsageError
from alexnet_cli.manifest import InputSpec
from alexnet_cli.models.lrn import LocalResponseNorm
from alexnet_cli.networks import (
    Activation,
    Departure,
    InitConstants,
    Kernels,
    Network,
    NetworkSpec,
    Pool,
)


class ConvNet(nn.Module):
    """Base of the networks: images (N, 3, crop, crop) to logits (N, K).

    A subclass builds its layers from a `NetworkSpec`, and raises a `UsageError` for an input size
    that does not suit it.
    """

    departures: tuple[Departure, ...] = ()
    features: nn.Sequential
    classifier: nn.Sequential

    def forward(self, x_NCHW: Tensor) -> Tensor:
        logits_NK: Tensor = self.classifier(self.features(x_NCHW))
        return logits_NK


# The architecture options. None changes the number of layers, so that weights keep their names.


def activation(spec: NetworkSpec) -> nn.Module:
    """Return the nonlinearity (paper §3.1): ReLU, or the tanh it is compared with."""
    return nn.ReLU() if spec.activation is Activation.RELU else nn.Tanh()


def conv_widths(spec: NetworkSpec, *published: int) -> tuple[int, ...]:
    """Return the output channels of the convolutions before the last: all, or half (§3.2)."""
    return tuple(width // 2 if spec.kernels is Kernels.HALF else width for width in published)


def max_pool(spec: NetworkSpec) -> nn.MaxPool2d:
    """Return 3×3 windows at stride 2, or 2×2 windows with the same output size (paper §3.4)."""
    if spec.pool is Pool.OVERLAPPING:
        return nn.MaxPool2d(3, stride=2, ceil_mode=True)
    return nn.MaxPool2d(2, stride=2)


def lrn(spec: NetworkSpec, *, size: int = 5, alpha: float = 1e-4, k: float = 2.0) -> nn.Module:
    """Return local response normalisation (paper §3.3), or the identity in its place."""
    return LocalResponseNorm(size=size, alpha=alpha, k=k) if spec.lrn else nn.Identity()


class LocallyConnected(nn.Module):
    """A padded 3×3 convolution without weight sharing: each position has its own weights.

    Source: cuda-convnet's layer type `local`, filter size 3, padding 1, a bias for each unit.
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
        side = self.side_px
        padded = F.pad(x_NCHW, (1, 1, 1, 1))
        shifted = [padded[:, :, i : i + side, j : j + side] for i in range(3) for j in range(3)]
        patches_NPL = torch.cat(shifted, dim=1).flatten(2)
        # One matrix product for each position: (L, N, P) × (L, P, O).
        out_LNO = torch.bmm(patches_NPL.permute(2, 0, 1), self.weight)
        out_NOHW = out_LNO.permute(1, 2, 0).reshape(-1, self.out_channels, side, side)
        return out_NOHW + self.bias

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, side_px={self.side_px}"


class SameMapNorm(nn.Module):
    """Response normalisation over neighbouring pixels of the same channel.

    `y = x / (1 + α · Σ x² / size²)^β`, the sum over the size × size pixels around it, zeros beyond
    the border.

    Source: cuda-convnet's layer type `rnorm`; Caffe's `LRN` with `WITHIN_CHANNEL`.
    """

    def __init__(self, size: int = 3, alpha: float = 5e-5, beta: float = 0.75) -> None:
        super().__init__()
        self.size, self.alpha, self.beta = size, alpha, beta

    def forward(self, x_NCHW: Tensor) -> Tensor:
        # In float32 at least: bfloat16 would lose so small a term when it is added to 1.
        x = x_NCHW.to(torch.promote_types(x_NCHW.dtype, torch.float32))
        mean = F.avg_pool2d(x * x, self.size, stride=1, padding=self.size // 2)
        return (x * (1 + self.alpha * mean).pow(-self.beta)).to(x_NCHW.dtype)

    def extra_repr(self) -> str:
        return f"size={self.size}, alpha={self.alpha}, beta={self.beta}"


WeightLayer = nn.Conv2d | nn.Linear | LocallyConnected


def build_network(spec: NetworkSpec, *, seed: int = 0, init: str = "he") -> nn.Module:
    """Build a network with fresh weights, which the seed fixes.

    `init` is `he`, `paper` (§5: N(0, 0.01), some biases 1) or `released` (as in its published
    source); see `NetworkInfo.init_constants`.

    Raises:
        UsageError: The input size does not suit the network, or it has no such initial weights.
    """
    network = _construct(spec)
    generator = torch.Generator().manual_seed(seed)
    if init == "he":
        _init_he(network, generator)
    else:
        _init_published(network, published_init(spec.name, init), generator)
    return network


def outline_network(spec: NetworkSpec) -> nn.Module:
    """Build a network on the meta device: its shapes without memory for its weights.

    Raises:
        UsageError: The input size does not suit the network.
    """
    with torch.device("meta"):
        return _construct(spec)


def _construct(spec: NetworkSpec) -> nn.Module:
    network: nn.Module = pkgutil.resolve_name(f"{__package__}.{spec.name.info.model_class}")(spec)
    return network


def weight_layers(network: nn.Module) -> list[WeightLayer]:
    """Return the convolutions, locally and fully connected layers, from input to output."""
    return [m for m in network.modules() if isinstance(m, WeightLayer)]


def num_parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def published_init(name: Network, init: str) -> InitConstants:
    """Return the published initial weights of a network, or raise a `UsageError` without any."""
    published = name.info.init_constants
    if init not in published:
        raise UsageError(
            f"--init {init} is not available for {name}: no such weights were published",
            hint=f"use --init {' or --init '.join(['he', *published])}",
        )
    return published[init]


@torch.no_grad()
def _init_published(
    network: nn.Module, constants: InitConstants, generator: torch.Generator
) -> None:
    layers = weight_layers(network)
    for layer, std, bias in zip(layers, constants.stds, constants.biases, strict=True):
        layer.weight.normal_(0.0, std, generator=generator)
        if layer.bias is not None:
            layer.bias.fill_(bias)


@torch.no_grad()
def _init_he(network: nn.Module, generator: torch.Generator) -> None:
    """Give hidden layers the variance that ReLUs preserve, the last layer N(0, 0.01), biases 0.

    Paper: weights N(0, 0.01), biases 1 in conv2, conv4, conv5 and the hidden fully connected
    layers (§5). Here: He initialisation and zero biases, because the paper's start needs inputs
    of 0–255 (mean subtracted, standard deviation about 70): on inputs of unit variance its
    logits hardly depend on the image, and the training loss stays at ln(classes).

    Source: He et al. 2015, "Delving Deep into Rectifiers", eq. 10.
    """
    layers = weight_layers(network)
    for layer in layers[:-1]:
        is_local = isinstance(layer, LocallyConnected)
        fan_in = layer.weight.shape[1] if is_local else layer.weight[0].numel()
        layer.weight.normal_(0.0, (2.0 / fan_in) ** 0.5, generator=generator)
    # The paper's scale suits the last layer: the first loss is then ln(classes).
    layers[-1].weight.normal_(0.0, 0.01, generator=generator)
    for layer in layers:
        if layer.bias is not None:
            layer.bias.zero_()


class PixelNetwork(nn.Module):
    """A network together with its input scaling, for uint8 images.

    Training, evaluation and the exported graph all run this module, so that the scaling cannot
    differ between them.
    """

    scale_C11: Tensor
    shift_C11: Tensor

    def __init__(self, network: nn.Module, spec: InputSpec) -> None:
        super().__init__()
        self.network = network
        for name, values in (("scale_C11", spec.scale), ("shift_C11", spec.shift)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, images_NHWC: Tensor, colours_NC: Tensor | None = None) -> Tensor:
        """Return logits (N, K) of uint8 RGB images (N, S, S, 3).

        In training, the colour noise (N, 3) is added to all pixels of an image.
        """
        # A permuted NHWC tensor is a channels-last NCHW tensor: no copy is made.
        pixels_NCHW = images_NHWC.permute(0, 3, 1, 2).to(self.scale_C11.dtype)
        shift = self.shift_C11
        if colours_NC is not None:
            shift = shift + colours_NC[:, :, None, None] * self.scale_C11
        logits_NK: Tensor = self.network(pixels_NCHW * self.scale_C11 + shift)
        return logits_NK


def torch_logits(
    network: nn.Module, *, device: torch.device, dtype: torch.dtype
) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Wrap a network as a function of NumPy arrays: uint8 images (N, S, S, 3) to logits (N, K).

    The network is in evaluation mode during each call. Autocast computes in `dtype`; float32 means
    none.
    """

    def logits(images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        was_training = network.training
        network.eval()
        images = torch.from_numpy(images_NHWC).to(device)
        autocast = torch.autocast(device.type, dtype, enabled=dtype != torch.float32)
        with torch.inference_mode(), autocast:
            result = network(images)
        network.train(was_training)
        return result.float().cpu().numpy()  # type: ignore[no-any-return]

    return logits


def first_filters(network: nn.Module) -> NDArray[np.float32]:
    """Return the weights of the first convolution, float32 (F, S, S, 3)."""
    first = next(each for each in network.modules() if isinstance(each, nn.Conv2d))
    filters: NDArray[np.float32] = first.weight.detach().float().cpu().permute(0, 2, 3, 1).numpy()
    return filters


def to_unit_range(filters_FSS3: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale each filter to 0–1, its smallest weight to 0 and its greatest to 1."""
    low = filters_FSS3.min(axis=(1, 2, 3), keepdims=True)
    spread = filters_FSS3.max(axis=(1, 2, 3), keepdims=True) - low
    scaled: NDArray[np.float32] = (filters_FSS3 - low) / np.maximum(spread, np.float32(1e-30))
    return scaled


def mosaic(tiles_NSS3: NDArray[np.float32], *, columns: int) -> NDArray[np.float32]:
    """Lay square RGB tiles out in rows: RGBA (H, W, 4), one transparent pixel between tiles."""
    count, side = tiles_NSS3.shape[:2]
    columns = min(columns, count)
    rows, step = -(-count // columns), side + 1
    picture = np.zeros((rows * step - 1, columns * step - 1, 4), np.float32)
    for number, tile in enumerate(tiles_NSS3):
        top, left = (place * step for place in divmod(number, columns))
        picture[top : top + side, left : left + side, :3] = tile
        picture[top : top + side, left : left + side, 3] = 1
    return picture
