"""AlexNet with a single tower, as in torchvision.

Shape letters: N batch, C channels, H height, W width, K classes.
"""

from torch import Tensor, nn

from alexnet_cli.errors import UsageError
from alexnet_cli.models.layers import ConvNet
from alexnet_cli.networks import Departure, NetworkSpec

MIN_CROP_PX = 63  # the smallest input that leaves a pixel after the last pooling


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
        if spec.crop_size_px < MIN_CROP_PX:
            raise UsageError(
                f"alexnet-owt needs crops of at least {MIN_CROP_PX} px, not {spec.crop_size_px}",
                hint="resize with --image-size 256 --crop-size 224, or train --model alexnet-cifar",
            )
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
