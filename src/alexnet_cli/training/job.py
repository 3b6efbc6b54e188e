"""What to train and who is told: the training loop's input."""

from dataclasses import dataclass, field

import torch

from alexnet_cli.config import TrainConfig
from alexnet_cli.data.arrays import ColourStatistics, ImageSource
from alexnet_cli.manifest import Manifest
from alexnet_cli.models.lrn import kernel_name
from alexnet_cli.runs import RunFolder
from alexnet_cli.training.checkpoint import EpochRow
from alexnet_cli.training.device import describe_device
from alexnet_cli.training.distributed import Ranks
from alexnet_cli.training.pretrained import Pretrained
from alexnet_cli.training.signals import StopRequest
from alexnet_cli.training.stuck import Diagnosis


class Reporter:
    """Who is told how training goes; this one listens and says nothing."""

    def on_first_step(self, seconds: float) -> None:
        """After the first update of this process, which also prepares kernels and memory."""

    def on_stuck(self, diagnosis: Diagnosis) -> None:
        """After the first updates, when the loss has not moved from ln(classes)."""

    def on_step(self, epoch: int, images_done: int, images_total: int) -> None:
        """After each update; counts are of the current epoch."""

    def on_epoch(self, row: EpochRow, *, is_best: bool) -> None:
        """After each validation."""


@dataclass(frozen=True)
class Job:
    """What to train, on what, and where to keep it.

    `colours` may be left out where there is no noise of colours.
    """

    config: TrainConfig
    manifest: Manifest
    train: ImageSource
    val: ImageSource
    run: RunFolder
    device: torch.device
    dtype: torch.dtype
    colours: ColourStatistics | None
    pretrained: Pretrained | None = None
    num_workers: int = 0
    stop: StopRequest = field(default_factory=StopRequest)
    ranks: Ranks = field(default_factory=Ranks)

    @property
    def colour_axes(self) -> tuple[tuple[float, ...], ...]:
        """Directions in which colours change, as long as the noise; none without noise."""
        if not self.config.colour_noise:
            return ()
        if self.colours is None:
            raise ValueError("noise of colours needs their statistics")
        return self.colours.noise_axes(self.config.colour_noise)

    @property
    def environment(self) -> dict[str, str]:
        """What bit-identity depends on beside the configuration."""
        return {
            "device": describe_device(self.device),
            "precision": str(self.dtype).removeprefix("torch."),
            "lrn": kernel_name(self.device),
            **self.ranks.environment,
        }
