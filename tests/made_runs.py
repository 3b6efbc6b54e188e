"""Runs without training: a network with drawn weights, beside a folder of small images."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from alexnet_cli.config import TrainConfig
from alexnet_cli.data.catalog import find_dataset, load_training
from alexnet_cli.data.split import describe_split
from alexnet_cli.manifest import InputSpec, Manifest, Network, NetworkSpec, Provenance
from alexnet_cli.models.build import build_network
from alexnet_cli.training.checkpoint import (
    EpochRow,
    Snapshot,
    TrainState,
    serialised,
    write_checkpoint,
)

HISTORY = (
    EpochRow(1, 0.01, 2.3, 0.1, 2.1, 0.25, 1.5, 0.2, 1234.5),
    EpochRow(2, 0.01, 1.7, 0.5, 1.6, 0.375, 1.4, 0.2, 1300.0),
    EpochRow(3, 0.001, 1.2, 0.6, 1.7, 0.3, 1.4, 0.2, 1100.0),
)


def make_images(folder: Path, classes, *, per_class=6, side=12) -> Path:
    """Fill a folder with noise, `per_class` PNG files for each class."""
    draw = np.random.default_rng(1)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = draw.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def make_run(
    run: Path, data: Path, *, val_size=20, image_size=12, history=HISTORY, **settings
) -> Path:
    """Write a run folder, as training leaves it."""
    dataset = find_dataset(str(data))
    spec = NetworkSpec(Network.CUDA_CONVNET_80SEC, len(dataset.classes), 8, lrn=False, groups=1)
    images = describe_split(*load_training(dataset, val_size=val_size, seed=3))
    origin = Provenance(
        dataset.name, 3, val_size, 2, 0.375, "0" * 64, {"torch": "2"}, images=images
    )
    input_spec = InputSpec(image_size, 8, (1 / 64,) * 3, (-2.0,) * 3)
    manifest = Manifest(spec, input_spec, dataset.classes, origin)
    config = TrainConfig(data=str(data), epochs=3, model=spec.name, **settings)
    weights = serialised(build_network(spec, seed=1).state_dict())
    step = len(history)
    best = max(history, key=lambda row: row.val_top1).epoch if history else 0
    for number in sorted({step, best}):
        state = TrainState(step=number, epoch=number, best_step=best, history=history[:number])
        document = config.model_dump(mode="json")
        environment = {"device": "cpu (1 threads)", "precision": "float32"}
        write_checkpoint(
            run / "checkpoints",
            Snapshot(state, document, environment, manifest, (), weights, weights),
        )
    (run / "config.toml").write_text(f"\ndata = {json.dumps(dataset.name)}\n")
    (run / "environment.json").write_text(json.dumps({"command": ["alexnet", "train"]}))
    return run
