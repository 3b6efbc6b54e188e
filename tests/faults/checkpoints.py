"""Small checkpoints to be lost."""

from dataclasses import replace

import torch

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.training.checkpoint import (
    Checkpoint,
    EpochRow,
    TrainState,
    prune_checkpoints,
    to_safetensors,
    write_checkpoint,
)
from tests.unit.training.conftest import MANIFEST

_CONFIG = TrainConfig(data="shapes").model_dump(mode="json")


def save_steps(folder, *steps, epoch=1):
    """Save steps whose tensors hold their number, and return their folder."""
    row = EpochRow(1, 0.1, 2.0, 0.1, 2.0, 0.1, 1.0, 1.0, 1.0)
    rows = tuple(replace(row, epoch=each) for each in range(1, epoch + 1))
    for step in steps:
        checkpoint = Checkpoint(
            folder=folder / f"step-{step}",
            state=TrainState(step, epoch, 1, best_step=step, history=rows),
            config=_CONFIG,
            environment={"device": "cpu"},
            manifest=MANIFEST,
            colour_axes=(),
        )
        content = to_safetensors({"weight": torch.full((1_000,), float(step))})
        write_checkpoint(checkpoint, model=content, optimizer=content)
    return folder


def save_and_prune(folder, step, *, epoch=1):
    """Save a step as training does."""
    save_steps(folder, step, epoch=epoch)
    prune_checkpoints(folder / f"step-{step}")


def files_of(folder):
    """Return all files there, relative to it."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
