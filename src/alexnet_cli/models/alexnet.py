"""AlexNet: the two towers of 2012, the single tower of 2014 as in torchvision, and small images.

Source: Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural
Networks", NIPS 2012, §3; `computerhistory/AlexNet-Source-Code` where the paper is silent.

The forward pass of all of them is that of `ConvNet`, in `build.py`.

Shape letters: N batch, C channels, H height, W width, K classes.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from alexnet_cli.errors import UsageError
from alexnet_cli.models.build import ConvNet, activation, conv_widths, lrn, max_pool
from alexnet_cli.networks import Departure, NetworkSpec

# The smallest inputs that leave a pixel after the last pooling.
MIN_CROP_PX, OWT_MIN_CROP_PX = 36, 63
CIFAR_CROP_PX = (8, 96)  # and the largest before the first fully connected layer is enormous


class AlexNet(ConvNet):
    """The two-tower network of the paper; the towers are the two groups of conv2, 4 and 5.

    Shapes for a 224- or 227-pixel input and all kernels.
    """

    departures = (
        Departure(
            paper="a 224-px input, 11×11 windows at stride 4 and 55 outputs, which do not add up",
            here="zeros at the right and bottom, up to the next size that fits",
            because="the original's output-size rule reads past the edge as zeros in just this way",
        ),
    )

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        _require_crop(spec, MIN_CROP_PX, own="--image-size 227 --crop-size 227")
        self.crop_size_px = spec.crop_size_px
        (channels,) = conv_widths(spec, 96)
        conv1 = nn.Conv2d(3, channels, kernel_size=11, stride=4)  # 96×55×55
        side = (_padded(spec.crop_size_px) - 11) // 4 + 1
        self.features = _features(spec, conv1)
        self.classifier = _classifier(spec, side_px=side // 2 // 2 // 2, num_units=4096)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        missing = _padded(self.crop_size_px) - self.crop_size_px
        return super().forward(F.pad(x_NCHW, (0, missing, 0, missing)))


def _features(spec: NetworkSpec, conv1: nn.Conv2d) -> nn.Sequential:
    """Return conv1 and the paper's other convolutions; shapes for 55×55 pixels behind conv1."""
    groups = spec.groups
    conv2, conv3, conv4 = conv_widths(spec, 256, 384, 384)
    return nn.Sequential(
        conv1,
        activation(spec),
        lrn(spec),
        max_pool(spec),  # 96×27×27, overlapping: §3.4; rounded up
        nn.Conv2d(conv1.out_channels, conv2, kernel_size=5, padding=2, groups=groups),  # 256×27×27
        activation(spec),
        lrn(spec),
        max_pool(spec),  # 256×13×13
        nn.Conv2d(conv2, conv3, kernel_size=3, padding=1),  # 384×13×13, connects both towers
        activation(spec),
        nn.Conv2d(conv3, conv4, kernel_size=3, padding=1, groups=groups),  # 384×13×13
        activation(spec),
        nn.Conv2d(conv4, 256, kernel_size=3, padding=1, groups=groups),  # 256×13×13
        activation(spec),
        max_pool(spec),  # 256×6×6
    )


def _classifier(spec: NetworkSpec, *, side_px: int, num_units: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(256 * side_px * side_px, num_units),  # fc6
        activation(spec),
        nn.Dropout(spec.dropout),
        nn.Linear(num_units, num_units),  # fc7
        activation(spec),
        nn.Dropout(spec.dropout),
        nn.Linear(num_units, spec.num_classes),
    )


def _padded(size: int) -> int:
    """Return the next size at which 11×11 windows at stride 4 fit exactly: 224 → 227."""
    return size + (11 - size) % 4


class AlexNetOWT(ConvNet):
    """The network of "One weird trick", with the names of torchvision's weights.

    Shapes for a 224-pixel input.

    Source: Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks",
    footnote 1; `torchvision.models.alexnet`.
    """

    departures = (
        Departure(
            paper="two towers of 96, 256, 384, 384 and 256 channels, LRN, dropout after fc6 and "
            "fc7 (2012)",
            here="one tower of 64, 192, 384, 256 and 256 channels, no LRN, dropout before fc6 and "
            "fc7, and no options",
            because="Krizhevsky 2014 merged the towers to train on one GPU, and torchvision's "
            "pretrained weights are of this network",
        ),
    )

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        _require_crop(spec, OWT_MIN_CROP_PX, own="--image-size 256 --crop-size 224")
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2),  # 64×55×55
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),  # 64×27×27
            nn.Conv2d(64, 192, kernel_size=5, padding=2),  # 192×27×27
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),  # 192×13×13
            nn.Conv2d(192, 384, kernel_size=3, padding=1),  # 384×13×13
            nn.ReLU(),
            nn.Conv2d(384, 256, kernel_size=3, padding=1),  # 256×13×13
            nn.ReLU(),
            nn.Conv2d(256, 256, kernel_size=3, padding=1),  # 256×13×13
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),  # 256×6×6
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)  # 256×6×6, whatever the input
        self.classifier = nn.Sequential(
            nn.Dropout(spec.dropout),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(),
            nn.Dropout(spec.dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, spec.num_classes),
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        pooled_NCHW = self.avgpool(self.features(x_NCHW))
        logits_NK: Tensor = self.classifier(pooled_NCHW.flatten(1))
        return logits_NK


def _require_crop(spec: NetworkSpec, min_px: int, *, own: str) -> None:
    if spec.crop_size_px < min_px:
        raise UsageError(
            f"{spec.name} needs crops of at least {min_px} px, not {spec.crop_size_px}",
            hint=f"resize with {own}, or train --model alexnet-cifar",
        )


class AlexNetCifar(ConvNet):
    """AlexNet with a 5×5 first layer at stride 1 and fully connected layers of 1024 units.

    `ConvNet.forward` runs `features`, then `classifier`.
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
        side = _side_after_pools(spec)
        (channels,) = conv_widths(spec, 96)
        conv1 = nn.Conv2d(3, channels, kernel_size=5, padding=2)  # 96×32×32
        self.features = _features(spec, conv1)
        self.classifier = _classifier(spec, side_px=side, num_units=1024)


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
        side, groups = _side_after_pools(spec), spec.groups
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


def _side_after_pools(spec: NetworkSpec) -> int:
    """Return the side after three 3×3 pools at stride 2, rounded up: 32 → 16 → 8 → 4.

    Raises:
        UsageError: The crops are too small or too large.
    """
    least, most = CIFAR_CROP_PX
    if not least <= spec.crop_size_px <= most:
        raise UsageError(
            f"{spec.name} takes crops of {least} to {most} px, not {spec.crop_size_px}",
            hint="choose --image-size 32 --crop-size 28, or for large images --model alexnet",
        )
    return spec.crop_size_px // 2 // 2 // 2
