"""A manifest small enough to train in a second, and checkpoints small enough to damage."""

import pytest
import torch

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.manifest import InputSpec, Manifest, Provenance
from alexnet_cli.networks import Network, NetworkSpec
from alexnet_cli.training.checkpoint import (
    EpochRow,
    Snapshot,
    TrainState,
    to_safetensors,
    write_checkpoint,
)

CONFIG = TrainConfig(data="shapes", epochs=9, learning_rate=0.1 + 0.2).model_dump(mode="json")
AXES = ((0.1 + 0.2, -1.0, 1e-07), (0.0, 1.0, 2.0), (3.0, 1 / 3, 5.0))
HISTORY = (
    EpochRow(1, 0.1, 2.302585, 1 / 3, 2.1, 0.25, 1.5, 0.2, 1234.5678),
    EpochRow(2, 0.1 + 0.2, 1.7, 0.5, 1.6, 0.375, 1.4, 0.2, 1300.0),
)


@pytest.fixture(scope="session")
def manifest():
    return Manifest(
        network=NetworkSpec(Network.ALEXNET_CIFAR, num_classes=4, crop_size_px=8, dropout=0.5),
        input=InputSpec(12, 8, scale=(0.02, 0.015, 0.01), shift=(-2.5, -2.0, -1.5)),
        classes=("ant", "bee", "cat", "élan"),
        provenance=Provenance("shapes", 5, 20, 0, 0.0, "0" * 64, {"torch": "2"}),
    )


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoints"


@pytest.fixture
def save(folder, manifest):
    def save_step(step, *, best_step=0):
        generator = torch.Generator().manual_seed(step)
        tensors = {n: torch.randn(4, 3, generator=generator) for n in ("weight", "other")}
        snapshot = Snapshot(
            state=TrainState(step, 2, 1, 0.1 + 0.2, 7, 1.25, best_step, HISTORY),
            config=CONFIG,
            environment={"device": "cpu"},
            manifest=manifest,
            colour_axes=AXES,
            model=to_safetensors({"weight": tensors["weight"]}),
            optimizer=to_safetensors({"weight": tensors["other"]}),
        )
        return write_checkpoint(folder, snapshot)

    return save_step


@pytest.fixture
def damage():
    """Flip a bit of a file."""

    def flip(path, offset, bit=0):
        content = bytearray(path.read_bytes())
        content[offset] ^= 1 << bit
        path.write_bytes(content)

    return flip
