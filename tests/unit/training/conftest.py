"""A run small enough to train in a second, and checkpoints small enough to damage."""

import dataclasses

import numpy as np
import pytest
import torch

from alexnet_cli.config.schema import Precision, Schedule, TrainConfig
from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.manifest import InputSpec, Manifest, Provenance
from alexnet_cli.networks import Kernels, Network, NetworkSpec
from alexnet_cli.run_folder import RunFolder
from alexnet_cli.training.checkpoint import (
    Checkpoint,
    EpochRow,
    TrainState,
    to_safetensors,
    write_checkpoint,
)
from alexnet_cli.training.setup import TrainingRun

CONFIG = TrainConfig(
    data="shapes", epochs=3, batch_size=16, learning_rate=0.01, schedule=Schedule.PLATEAU,
    patience=1, pad=1, val_size=20, seed=5, precision=Precision.FP32,
)  # fmt: skip
MANIFEST = Manifest(
    network=NetworkSpec(Network.ALEXNET_CIFAR, 4, crop_size_px=8, kernels=Kernels.HALF),
    input=InputSpec(12, 8, scale=(0.02, 0.015, 0.01), shift=(-2.5, -2.0, -1.5)),
    classes=("ant", "bee", "cat", "élan"),
    provenance=Provenance("shapes", 5, 20, 0, 0.0, "0" * 64, {"torch": "2"}),
)
HISTORY = (
    EpochRow(1, 0.1, 2.302585, 1 / 3, 2.1, 0.25, 1.5, 0.2, 1234.5678),
    EpochRow(2, 0.1 + 0.2, 1.7, 0.5, 1.6, 0.375, 1.4, 0.2, 1300.0),
)


def draw(num_images, *, seed, is_right=True):
    """Draw noise; a brighter channel tells the class, or the one before it."""
    generator = np.random.default_rng(seed)
    classes = np.arange(num_images) % 4
    images = generator.integers(0, 156, (num_images, 12, 12, 3))
    for channel in range(3):
        images[classes == channel, :, :, channel] += 100
    labels = classes if is_right else (classes + 1) % 4
    return ImageArrays(images.astype(np.uint8), labels.astype(np.int64))


@pytest.fixture
def make_run(tmp_path):
    def make(name="run", *, num_images=44, val_is_right=True, colour_axes=None, **changes):
        train = draw(num_images, seed=0)
        axes = train.colour_statistics().noise_axes(0.1) if colour_axes is None else colour_axes
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir()
        network = dataclasses.replace(MANIFEST.network, dropout=changes.get("dropout", 0.5))
        return TrainingRun(
            config=CONFIG.model_copy(update=changes),
            manifest=dataclasses.replace(MANIFEST, network=network),
            train=train,
            val=draw(20, seed=1, is_right=val_is_right),
            folder=folder,
            device=torch.device("cpu"),
            dtype=torch.float32,
            colour_axes=axes,
        )

    return make


@pytest.fixture
def checkpoints(tmp_path):
    return tmp_path / "checkpoints"


@pytest.fixture
def make_checkpoint(checkpoints):
    """Return a checkpoint, not written yet, and the content of its tensor files."""

    def make(step, *, best_step=0):
        checkpoint = Checkpoint(
            folder=checkpoints / f"step-{step}",
            state=TrainState(step, 2, 1, 0.1 + 0.2, 7, 1.25, best_step, HISTORY),
            config=CONFIG.model_dump(mode="json"),
            environment={"device": "cpu"},
            manifest=MANIFEST,
            colour_axes=((0.1 + 0.2, -1.0, 1e-07), (0.0, 1.0, 2.0), (3.0, 1 / 3, 5.0)),
        )
        generator = torch.Generator().manual_seed(step)
        tensors = {
            file: to_safetensors({"weight": torch.randn(4, 3, generator=generator)})
            for file in ("model", "optimizer")
        }
        return checkpoint, tensors

    return make


@pytest.fixture
def save(make_checkpoint):
    def save_step(step, *, best_step=0):
        checkpoint, tensors = make_checkpoint(step, best_step=best_step)
        write_checkpoint(checkpoint, **tensors)
        return checkpoint.folder

    return save_step


@pytest.fixture
def damage():
    """Flip a bit of a file."""

    def flip(path, offset, bit=0):
        content = bytearray(path.read_bytes())
        content[offset] ^= 1 << bit
        path.write_bytes(content)

    return flip
