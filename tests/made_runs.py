"""Runs without training: a network with drawn weights, beside a folder of small images."""

import json
import os
import shutil

import numpy as np
from PIL import Image

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.data import shapes
from alexnet_cli.data.datasets import find_dataset
from alexnet_cli.data.run_images import draw_images
from alexnet_cli.manifest import InputSpec, Manifest, Provenance, data_title
from alexnet_cli.models.build import build_network
from alexnet_cli.networks import Network, NetworkSpec
from alexnet_cli.training.checkpoint import (
    Checkpoint,
    EpochRow,
    TrainState,
    to_safetensors,
    write_checkpoint,
)

HISTORY = (
    EpochRow(1, 0.01, 2.3, 0.1, 2.1, 0.25, 1.5, 0.2, 1234.5),
    EpochRow(2, 0.01, 1.7, 0.5, 1.6, 0.375, 1.4, 0.2, 1300.0),
    EpochRow(3, 0.001, 1.2, 0.6, 1.7, 0.3, 1.4, 0.2, 1100.0),
)


def make_images(folder, classes, *, per_class=6, side=12):
    """Fill a folder with noise, `per_class` PNG files for each class; other names, other noise."""
    draw = np.random.default_rng(list(folder.name.encode()))
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = draw.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def draw_tinted(num_images, *, seed):
    """Draw shapes whose colour gives the class away: a network learns them in a second."""
    corners = [(r, g, b) for r in (0, 255) for g in (0, 127, 255) for b in (0, 255)]
    tints = np.random.default_rng(0).permutation(np.array(corners))[: len(shapes.CLASSES)]
    images, labels = shapes.draw_shapes(num_images, seed=seed)
    return ((images + 3.0 * tints[labels][:, None, None]) / 4).astype(np.uint8), labels


def make_tinted(folder):
    """Fill a folder with PNG files of ten classes: 100 to train on, 60 to test."""
    for split, num_images, seed in (("train", 100, 1), ("test", 60, 2)):
        drawn = zip(*draw_tinted(num_images, seed=seed), strict=True)
        for number, (image, label) in enumerate(drawn):
            home = folder / split / shapes.CLASSES[label]
            home.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(home / f"{number:03}.png")
    return folder


def copy_run(source, target):
    """Copy a folder with runs; its large files, which are only ever replaced, are linked."""

    def copy(file, to):
        is_large = file.endswith((".safetensors", ".onnx"))
        (os.link if is_large else shutil.copy2)(file, to)

    shutil.copytree(source, target, dirs_exist_ok=True, copy_function=copy)
    return target


def make_run(run, data, *, val_size=20, image_size=12, history=HISTORY, **settings):
    """Write a run folder, as training leaves it."""
    dataset = find_dataset(str(data))
    spec = NetworkSpec(Network.CUDA_CONVNET_80SEC, len(dataset.classes), 8, lrn=False, groups=1)
    images = draw_images(dataset, val_size=val_size, seed=3).fingerprint
    origin = Provenance(
        data_title(dataset.name), 3, val_size, 2, 0.375, "0" * 64, {"torch": "2"}, images=images
    )
    input_spec = InputSpec(image_size, 8, (1 / 64,) * 3, (-2.0,) * 3)
    manifest = Manifest(spec, input_spec, dataset.classes, origin)
    config = TrainConfig(data=str(data), epochs=3, model=spec.name, **settings)
    weights = to_safetensors(build_network(spec, seed=1).state_dict())
    step = len(history)
    best = max(history, key=lambda row: row.val_top1).epoch if history else 0
    for number in sorted({step, best}):
        state = TrainState(step=number, epoch=number, best_step=best, history=history[:number])
        document = config.model_dump(mode="json")
        environment = {"device": "cpu (1 threads)", "precision": "float32"}
        folder = run / "checkpoints" / f"step-{number}"
        checkpoint = Checkpoint(folder, state, document, environment, manifest, ())
        write_checkpoint(checkpoint, model=weights, optimizer=weights)
    (run / "config.toml").write_text(f"\ndata = {json.dumps(dataset.name)}\n")
    (run / "environment.json").write_text(json.dumps({"command": ["alexnet", "train"]}))
    return run


def export_drawn(spec, folder, **settings):
    """Export a network with drawn weights, and return images of its size."""
    from alexnet_cli.export.settings import Compared, ExportSettings
    from alexnet_cli.export.write import export_model

    side = spec.crop_size_px
    manifest = Manifest(
        spec,
        InputSpec(side, side, scale=(0.02,) * 3, shift=(-2.0,) * 3),
        tuple("abcdefghij"[: spec.num_classes]),
        Provenance("shapes", 5, 20, 3, 0.5, "0" * 64, {"torch": "2"}),
    )
    images = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), np.uint8)
    settings = ExportSettings(**settings)
    export_model(build_network(spec, seed=1), manifest, folder, settings, Compared(images))
    return images
