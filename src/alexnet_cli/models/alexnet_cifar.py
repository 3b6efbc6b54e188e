"""AlexNet for small images: the paper's layers at the scale of 32 pixels.

Shape letters: N batch, C channels, H height, W width, K classes.
"""

from torch import Tensor, nn

from alexnet_cli.errors import UsageError
from alexnet_cli.models.lrn import LocalResponseNorm

MIN_CROP_PX = 8
MAX_CROP_PX = 96


class AlexNetCifar(nn.Module):
    """AlexNet with a 5×5 first layer at stride 1 and fully connected layers of 1024.

    Paper: conv1 is 11×11 at stride 4 on 224 px, fc6 and fc7 have 4096 units. Here: 5×5 at
    stride 1, and 1024 units, because a 32-px image would be gone after the paper's conv1 and
    50,000 images cannot feed 50 M fully connected weights. Everything else is the paper's:
    the channels, the two towers (groups), LRN, overlapping ceil-mode pools, ReLU, dropout.

    Shapes for a 32-pixel input.

    Args:
        num_classes: Outputs K of the last layer.
        crop_size_px: Side of the square input.
        dropout: Probability of zeroing a unit of fc6 and fc7 in training.
    """

    def __init__(self, num_classes: int, crop_size_px: int = 32, dropout: float = 0.5) -> None:
        super().__init__()
        require_crop_size(crop_size_px)
        self.features = nn.Sequential(
            nn.Conv2d(3, 96, kernel_size=5, padding=2),  # 96×32×32
            nn.ReLU(),
            LocalResponseNorm(),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),  # 96×16×16
            nn.Conv2d(96, 256, kernel_size=5, padding=2, groups=2),  # 256×16×16
            nn.ReLU(),
            LocalResponseNorm(),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),  # 256×8×8
            nn.Conv2d(256, 384, kernel_size=3, padding=1),  # 384×8×8, sees both towers
            nn.ReLU(),
            nn.Conv2d(384, 384, kernel_size=3, padding=1, groups=2),  # 384×8×8
            nn.ReLU(),
            nn.Conv2d(384, 256, kernel_size=3, padding=1, groups=2),  # 256×8×8
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),  # 256×4×4
        )
        side = side_after_pools(crop_size_px)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(256 * side * side, 1024),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(1024, 1024),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(1024, num_classes),
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the logits (N, K) of images (N, 3, crop, crop)."""
        logits_NK: Tensor = self.classifier(self.features(x_NCHW))
        return logits_NK


def require_crop_size(crop_size_px: int) -> None:
    """Refuse an input size.

    Raises:
        UsageError: Nothing would be left of the image, or the first fc layer would be enormous.
    """
    if not MIN_CROP_PX <= crop_size_px <= MAX_CROP_PX:
        raise UsageError(
            f"alexnet-cifar takes crops of {MIN_CROP_PX} to {MAX_CROP_PX} px, not {crop_size_px}",
            hint=f"choose a --crop-size from {MIN_CROP_PX} to {MAX_CROP_PX}, or for large "
            "images --model alexnet",
        )


def side_after_pools(crop_size_px: int) -> int:
    """Return what three 3×3 pools at stride 2, rounded up, leave of a side: 32 → 16 → 8 → 4."""
    return crop_size_px // 2 // 2 // 2
