"""AlexNet for small images with batch normalisation, which the paper did not have yet.

Shape letters: N batch, C channels, H height, W width, K classes.
"""

from torch import Tensor, nn

from alexnet_cli.manifest import NetworkSpec
from alexnet_cli.models.alexnet_cifar import require_crop_size, side_after_pools
from alexnet_cli.models.switches import activation, max_pool


class AlexNetCifarBN(nn.Module):
    """`alexnet-cifar` with batch normalisation before each hidden ReLU.

    Paper: local response normalisation after the ReLUs of conv1 and conv2, biases everywhere.
    Here: batch normalisation after every hidden layer, which replaces both, because it allows
    larger rates. Therefore a network of its own name.

    Shapes for a 32-pixel input.

    Source: Ioffe, Szegedy 2015, "Batch Normalization", §3.2.

    Args:
        spec: Classes K, side of the input, switches.

    Raises:
        UsageError: The input size does not suit.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        require_crop_size(spec.crop_size_px)
        groups = spec.groups
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
        side = side_after_pools(spec.crop_size_px)
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

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the logits (N, K) of images (N, 3, crop, crop)."""
        logits_NK: Tensor = self.classifier(self.features(x_NCHW))
        return logits_NK
