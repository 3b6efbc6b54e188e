"""Run by test_distributed.py, alone or under torchrun: 20 steps in float64, dropout off.

Usage: train_in_float64.py RUN_FOLDER MICRO_BATCH_SIZE
"""

import sys
from pathlib import Path

import numpy as np
import torch

from alexnet_cli.config.schema import ClassWeights, Precision, TrainConfig
from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.manifest import InputSpec, Manifest, Provenance
from alexnet_cli.networks import Network, NetworkSpec
from alexnet_cli.run_folder import RunFolder
from alexnet_cli.training.loop import Trainer
from alexnet_cli.training.ranks import process_group
from alexnet_cli.training.setup import TrainingRun

CLASSES = ("ant", "bee", "cat", "dog")
CONFIG = TrainConfig(
    data="shapes",
    epochs=4,
    batch_size=16,
    micro_batch_size=int(sys.argv[2]),
    learning_rate=0.02,
    patience=1,
    dropout=0.0,
    label_smoothing=0.1,
    class_weights=ClassWeights.BALANCED,
    pad=1,
    val_size=21,
    seed=5,
    precision=Precision.FP32,
)


def draw(num_images, seed):
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (num_images, 12, 12, 3)).astype(np.uint8)
    return ImageArrays(images, generator.integers(0, 4, num_images))


with process_group() as ranks:
    run = RunFolder(Path(sys.argv[1]))
    if ranks.is_first:
        run.path.mkdir()
    manifest = Manifest(
        NetworkSpec(Network.ALEXNET_CIFAR, num_classes=4, crop_size_px=8, dropout=0.0),
        InputSpec(12, 8, scale=(0.02, 0.015, 0.01), shift=(-2.5, -2.0, -1.5)),
        CLASSES,
        Provenance("shapes", 5, 21, 0, 0.0, "0" * 64, {"torch": "2"}),
    )
    # 65 images in batches of 16: five steps an epoch, the last of a single image, so that one of
    # two ranks has none. 21 validation images do not divide by two.
    train = draw(65, 0)
    job = TrainingRun(
        CONFIG, manifest, train, draw(21, 1), run,
        torch.device("cpu"), torch.float32, train.colour_statistics().noise_axes(0.1),
        ranks=ranks,
    )  # fmt: skip
    trainer = Trainer(job)
    trainer.model.double()
    trainer.train()
