"""Small checkpoints to be lost."""

from pathlib import Path

import torch

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.manifest import InputSpec, Manifest, Provenance
from alexnet_cli.networks import Network, NetworkSpec
from alexnet_cli.training.checkpoint import Snapshot, TrainState, to_safetensors, write_checkpoint

_CONFIG = TrainConfig(data="shapes").model_dump(mode="json")
_MANIFEST = Manifest(
    network=NetworkSpec(Network.ALEXNET_CIFAR, num_classes=2, crop_size_px=8, dropout=0.5),
    input=InputSpec(12, 8, scale=(0.02, 0.015, 0.01), shift=(-2.5, -2.0, -1.5)),
    classes=("ant", "bee"),
    provenance=Provenance("shapes", 5, 20, 0, 0.0, "0" * 64, {"torch": "2"}),
)


def snapshot(step: int, *, epoch: int = 1) -> Snapshot:
    """Return one whose tensors say which step they are of."""
    content = to_safetensors({"weight": torch.full((1_000,), float(step))})
    return Snapshot(
        state=TrainState(step, epoch, 1, best_step=step),
        config=_CONFIG,
        environment={"device": "cpu"},
        manifest=_MANIFEST,
        colour_axes=(),
        model=content,
        optimizer=content,
    )


def save_steps(folder: Path, *steps: int) -> Path:
    """Save some, and return their folder."""
    for step in steps:
        write_checkpoint(folder, snapshot(step))
    return folder


def files_of(folder: Path) -> list[str]:
    """Return all files there, relative to it."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
