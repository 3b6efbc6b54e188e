"""AlexNet for small images, and its variant with batch normalisation."""

from torch import nn

from alexnet_cli.errors import UsageError
from alexnet_cli.models.layers import ConvNet, activation, conv_widths, lrn, max_pool
from alexnet_cli.networks import Departure, NetworkSpec

MIN_CROP_PX, MAX_CROP_PX = 8, 96


class AlexNetCifar(ConvNet):
    """AlexNet with a 5×5 first layer at stride 1 and fully connected layers of 1024.

    Shapes for a 32-pixel input and all kernels.
    """

    departures = (
        Departure(
            paper="conv1 is 11×11 at stride 4 on 224 px, fc6 and fc7 have 4096 units",
            here="conv1 is 5×5 at stride 1, fc6 and fc7 have 1024 units",
            because="the paper's conv1 would leave nothing of a 32-px image, and 50,000 images "
            "cannot train 50 M fully connected weights; the channels, the two towers, LRN, "
            "overlapping ceil-mode pools, ReLU and dropout are the paper's",
        ),
    )

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        side, groups = _side_after_pools(spec.crop_size_px), spec.groups
        conv1, conv2, conv3, conv4 = conv_widths(spec, 96, 256, 384, 384)
        self.features = nn.Sequential(
            nn.Conv2d(3, conv1, kernel_size=5, padding=2),  # 96×32×32
            activation(spec),
            lrn(spec),
            max_pool(spec),  # 96×16×16
            nn.Conv2d(conv1, conv2, kernel_size=5, padding=2, groups=groups),  # 256×16×16
            activation(spec),
            lrn(spec),
            max_pool(spec),  # 256×8×8
            nn.Conv2d(conv2, conv3, kernel_size=3, padding=1),  # 384×8×8, connects both towers
            activation(spec),
            nn.Conv2d(conv3, conv4, kernel_size=3, padding=1, groups=groups),  # 384×8×8
            activation(spec),
            nn.Conv2d(conv4, 256, kernel_size=3, padding=1, groups=groups),  # 256×8×8
            activation(spec),
            max_pool(spec),  # 256×4×4
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(256 * side * side, 1024),
            activation(spec),
            nn.Dropout(spec.dropout),
            nn.Linear(1024, 1024),
            activation(spec),
            nn.Dropout(spec.dropout),
            nn.Linear(1024, spec.num_classes),
        )


class AlexNetCifarBN(ConvNet):
    """`alexnet-cifar` with batch normalisation before each hidden ReLU.

    Shapes for a 32-pixel input. Source: Ioffe, Szegedy 2015, "Batch Normalization", §3.2.
    """

    departures = (
        Departure(
            paper="LRN after the ReLUs of conv1 and conv2, biases everywhere",
            here="batch normalisation after every hidden layer, which replaces both",
            because="it allows larger learning rates",
        ),
    )

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        side, groups = _side_after_pools(spec.crop_size_px), spec.groups
        self.features = nn.Sequential(
            nn.Conv2d(3, 96, kernel_size=5, padding=2, bias=False),  # 96×32×32
            nn.BatchNorm2d(96),
            activation(spec),
            max_pool(spec),  # 96×16×16
            nn.Conv2d(96, 256, kernel_size=5, padding=2, groups=groups, bias=False),  # 256×16×16
            nn.BatchNorm2d(256),
            activation(spec),
            max_pool(spec),  # 256×8×8
            nn.Conv2d(256, 384, kernel_size=3, padding=1, bias=False),  # 384×8×8
            nn.BatchNorm2d(384),
            activation(spec),
            nn.Conv2d(384, 384, kernel_size=3, padding=1, groups=groups, bias=False),  # 384×8×8
            nn.BatchNorm2d(384),
            activation(spec),
            nn.Conv2d(384, 256, kernel_size=3, padding=1, groups=groups, bias=False),  # 256×8×8
            nn.BatchNorm2d(256),
            activation(spec),
            max_pool(spec),  # 256×4×4
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(256 * side * side, 1024, bias=False),
            nn.BatchNorm1d(1024),
            activation(spec),
            nn.Dropout(spec.dropout),
            nn.Linear(1024, 1024, bias=False),
            nn.BatchNorm1d(1024),
            activation(spec),
            nn.Dropout(spec.dropout),
            nn.Linear(1024, spec.num_classes),
        )


def _side_after_pools(crop_size_px: int) -> int:
    """Return the side after three 3×3 pools at stride 2, rounded up: 32 → 16 → 8 → 4.

    Raises:
        UsageError: Nothing would be left of the image, or the first fc layer would be enormous.
    """
    if not MIN_CROP_PX <= crop_size_px <= MAX_CROP_PX:
        raise UsageError(
            f"alexnet-cifar takes crops of {MIN_CROP_PX} to {MAX_CROP_PX} px, not {crop_size_px}",
            hint="choose --image-size 32 --crop-size 28, or for large images --model alexnet",
        )
    return crop_size_px // 2 // 2 // 2
