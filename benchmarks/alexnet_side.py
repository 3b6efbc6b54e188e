"""This project's side of the training benchmarks: its trainer, with the defaults of `train`."""

import tempfile
from pathlib import Path

import numpy as np
import torch

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.data.batches import Batch
from alexnet_cli.data.datasets import find_dataset
from alexnet_cli.manifest import Manifest
from alexnet_cli.run_folder import RunFolder
from alexnet_cli.training.checkpoint import TrainState
from alexnet_cli.training.device import resolve_precision
from alexnet_cli.training.loop import Trainer
from alexnet_cli.training.setup import TrainingRun, describe_model


def describe(config: TrainConfig, train: ImageArrays) -> Manifest:
    """Return the manifest of a model that `alexnet train` trains on these images."""
    return describe_model(config, find_dataset(config.data), train.colour_statistics())


def make_trainer(
    config: TrainConfig,
    train: ImageArrays,
    *,
    device: torch.device,
    val: ImageArrays | None = None,
    run: RunFolder | None = None,
) -> Trainer:
    """Return the trainer of `alexnet train` on given images.

    Args:
        config: Its settings.
        train: Training images.
        device: Device of the network.
        val: Validation images, to finish an epoch.
        run: Folder of the checkpoints, to save.
    """
    dtype = resolve_precision(config.precision, device)
    val = train.take(np.zeros(1, np.int64)) if val is None else val
    run = RunFolder(Path(tempfile.gettempdir()) / "never-written") if run is None else run
    axes = train.colour_statistics().noise_axes(config.colour_noise)
    manifest = describe(config, train)
    trainer = Trainer(TrainingRun(config, manifest, train, val, run, device, dtype, axes))
    trainer._switch_to_train_mode()
    return trainer


def noise_images(count: int, *, size_px: int = 32) -> ImageArrays:
    """Return noise with labels."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, size=(count, size_px, size_px, 3), dtype=np.uint8)
    return ImageArrays(pixels, generator.integers(0, 10, size=count))


def one_batch(trainer: Trainer) -> Batch:
    return next(trainer._epoch_batches())


def update(trainer: Trainer, batch: Batch) -> None:
    """Run one update of the training loop."""
    trainer.state = TrainState()
    trainer._update(batch)


def train_last_batches(trainer: Trainer, count: int) -> None:
    """Run the last batches of an epoch, as after a resume."""
    trainer.state = TrainState(batch=trainer.batches.num_batches - count)
    trainer._train_epoch()


def save(trainer: Trainer) -> None:
    """Save as inside an epoch: a thread still writes when this returns."""
    trainer.state = TrainState(step=trainer.state.step + 1, batch=1)
    trainer._save()


def finish_epoch(trainer: Trainer) -> None:
    """Validate and save, as at the end of an epoch."""
    trainer._finish_epoch()
    trainer._checkpointer.wait()
