"""What to train: the training loop's input."""

from dataclasses import dataclass, field

import numpy as np
import torch

from alexnet_cli.config import TrainConfig
from alexnet_cli.data.arrays import ImageSource
from alexnet_cli.manifest import Manifest
from alexnet_cli.models.build import num_parameters, outline_network
from alexnet_cli.models.lrn import kernel_name
from alexnet_cli.runs import RunFolder
from alexnet_cli.training.checkpoint import ColourAxes
from alexnet_cli.training.device import describe_device
from alexnet_cli.training.distributed import Ranks
from alexnet_cli.training.pretrained import Pretrained
from alexnet_cli.training.saving import SaveInterval
from alexnet_cli.training.signals import StopRequest


@dataclass(frozen=True)
class Conditions:
    """How a run is carried out; its result does not depend on it, but for the device.

    Attributes:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        num_workers: Threads that make images ready; 0: as many as cores.
        save_interval: How often a checkpoint is written inside an epoch.
        deterministic: Whether CUDA, too, must give the same bytes each time.
        ranks: The processes of the run; the first of them writes.
    """

    device: str = "auto"
    num_workers: int = 0
    save_interval: SaveInterval = field(default_factory=SaveInterval)
    deterministic: bool = False
    ranks: Ranks = field(default_factory=Ranks)


@dataclass(frozen=True)
class Job:
    """What to train, on what, and where to keep it.

    Attributes:
        colour_axes: Directions in which colours change, each as long as the noise; none without.
        save_interval: How often a checkpoint is written inside an epoch.
    """

    config: TrainConfig
    manifest: Manifest
    train: ImageSource
    val: ImageSource
    run: RunFolder
    device: torch.device
    dtype: torch.dtype
    colour_axes: ColourAxes = ()
    pretrained: Pretrained | None = None
    num_workers: int = 0
    stop: StopRequest = field(default_factory=StopRequest)
    ranks: Ranks = field(default_factory=Ranks)
    save_interval: SaveInterval = field(default_factory=SaveInterval)

    @property
    def environment(self) -> dict[str, str]:
        """What bit-identity depends on beside the configuration."""
        return {
            "device": describe_device(self.device),
            "precision": str(self.dtype).removeprefix("torch."),
            "lrn": kernel_name(self.device),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "images": self.manifest.provenance.images,
            **self.ranks.environment,
        }


def describe_job(job: Job) -> str:
    """Say in one line what is about to be trained, on what and where."""
    parameters = num_parameters(outline_network(job.manifest.network))
    spec = job.manifest.input
    lrn = job.environment["lrn"]
    slow = f", slow LRN by {lrn}" if lrn.startswith("convolution") else ""
    several = "" if job.ranks.is_alone else f", {job.ranks.world_size} processes"
    return (
        f"training {job.config.model} ({parameters:,} parameters) on {len(job.train):,} images "
        f"of {job.config.data}, {spec.crop_size_px}-px crops of {spec.image_size_px} px, "
        f"{len(job.val):,} held out; {job.environment['device']}, {job.environment['precision']}"
        f"{slow}{several}; {job.run.path}"
    )
