"""Krizhevsky's own networks for CIFAR-10, named after their time or test error in 2011.

All pools are 3×3 at stride 2, rounded up; average pools divide by the pixels of the window that
are inside the image. `local` layers share no weights between positions.

Sources: cuda-convnet's `example-layers` and wiki; the 2012 source as released.
"""

from torch import nn

from alexnet_cli.errors import UsageError
from alexnet_cli.models.build import (
    ConvNet,
    LocallyConnected,
    SameMapNorm,
    activation,
    lrn,
    max_pool,
)
from alexnet_cli.networks import Departure, NetworkSpec

MIN_CROP_PX, MAX_CROP_PX = 8, 96


class _CudaConvnet(ConvNet):
    departures = (
        Departure(
            paper='"a four-layer CNN achieved a 13% test error rate without normalization and 11% '
            'with normalization" (§3.3), the networks `13pct` and `11pct`',
            here="these two also differ in channels, weight decay and number of epochs",
            because="cuda-convnet's layer definitions do",
        ),
    )


class CudaConvnet80Sec(_CudaConvnet):
    """Three convolutions, max and average pools, fc 64. Shapes for a 32-pixel input."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        side = _side_after(spec, num_pools=3)
        self.features = nn.Sequential(
            _conv(3, 32),  # 32×32×32
            activation(spec),
            max_pool(spec),  # 32×16×16
            _conv(32, 32),  # 32×16×16
            activation(spec),
            _average_pool(),  # 32×8×8
            _conv(32, 64),  # 64×8×8
            activation(spec),
            _average_pool(),  # 64×4×4
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64 * side * side, 64),
            activation(spec),
            nn.Linear(64, spec.num_classes),
        )


class CudaConvnet18Pct(_CudaConvnet):
    """Three convolutions, same-map normalisation after two pools. Shapes for a 32-pixel input.

    Without the normalisation it is `19pct`, which has another weight decay too.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        side = _side_after(spec, num_pools=3)
        self.features = nn.Sequential(
            _conv(3, 32),  # 32×32×32
            activation(spec),
            max_pool(spec),  # 32×16×16
            SameMapNorm() if spec.lrn else nn.Identity(),
            _conv(32, 32),  # 32×16×16
            activation(spec),
            _average_pool(),  # 32×8×8
            SameMapNorm() if spec.lrn else nn.Identity(),
            _conv(32, 64),  # 64×8×8
            activation(spec),
            _average_pool(),  # 64×4×4
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(64 * side * side, spec.num_classes))


class CudaConvnet13Pct(_CudaConvnet):
    """Two convolutions, two locally connected layers of 32. Shapes for a 24-pixel input.

    With `--lrn` it is normalised where `11pct` is.
    """

    LOCAL_CHANNELS = 32

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        side, channels = _side_after(spec, num_pools=2), self.LOCAL_CHANNELS
        self.features = nn.Sequential(
            _conv(3, 64),  # 64×24×24
            activation(spec),
            max_pool(spec),  # 64×12×12
            lrn(spec, size=9, alpha=0.001, k=1.0),
            _conv(64, 64),  # 64×12×12
            activation(spec),
            lrn(spec, size=9, alpha=0.001, k=1.0),
            max_pool(spec),  # 64×6×6
            LocallyConnected(64, channels, side),  # 32×6×6
            activation(spec),
            LocallyConnected(channels, 32, side),  # 32×6×6
            activation(spec),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(32 * side * side, spec.num_classes))


class CudaConvnet11Pct(CudaConvnet13Pct):
    """`13pct` with LRN, and 64 channels in its first locally connected layer."""

    LOCAL_CHANNELS = 64


def _conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size=5, padding=2)


def _average_pool() -> nn.AvgPool2d:
    return nn.AvgPool2d(3, stride=2, ceil_mode=True, count_include_pad=False)


def _side_after(spec: NetworkSpec, *, num_pools: int) -> int:
    divisor = 1 << num_pools
    if not MIN_CROP_PX <= spec.crop_size_px <= MAX_CROP_PX or spec.crop_size_px % divisor:
        raise UsageError(
            f"{spec.name} takes crops of {MIN_CROP_PX} to {MAX_CROP_PX} px that {divisor} "
            f"divides, not {spec.crop_size_px}",
            hint="choose --image-size 32 --crop-size 24 or 32, or for large images --model alexnet",
        )
    return spec.crop_size_px // divisor
