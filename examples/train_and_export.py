"""Train on the built-in shapes from Python, export, and predict one image.

Run it in an empty folder: `python train_and_export.py [EPOCHS]`. The whole API is plain functions.
"""

import sys
from pathlib import Path

import numpy as np

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.data.datasets import find_dataset
from alexnet_cli.export.settings import Compared, ExportSettings
from alexnet_cli.export.write import export_model
from alexnet_cli.inference.session import load_model
from alexnet_cli.models.build import build_network
from alexnet_cli.training.checkpoint import EpochRow, best_checkpoint
from alexnet_cli.training.device import resolve_device
from alexnet_cli.training.reporting import Reporter
from alexnet_cli.training.run import prepare_run, train_run


class PrintEpochs(Reporter):
    """Prints a line for each epoch."""

    def on_epoch(self, row: EpochRow, *, is_best: bool) -> None:
        """Print the validation accuracy."""
        print(f"epoch {row.epoch}: val acc {row.val_top1:.1%}{' best' * is_best}")


epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
config = TrainConfig(
    data="shapes", epochs=epochs, image_size=16, crop_size=16, learning_rate=0.02, val_size=8_500
)
run = prepare_run(config, resolve_device("auto"), name="example", parent=Path("runs"))
train_run(run, reporters=[PrintEpochs()])

checkpoint = best_checkpoint(run.folder.checkpoints)
network = build_network(checkpoint.manifest.network)
checkpoint.load_model(network)
exported = export_model(
    network,
    checkpoint.manifest,
    run.folder.path,
    ExportSettings(),
    Compared(np.zeros((4, 16, 16, 3), np.uint8)),
)

test = find_dataset("shapes").load_test()
model = load_model(exported[0].path)
small = test.take(np.arange(1)).load_images(16)
probabilities = model.probabilities(small)
print(
    f"{exported[0].path}: the first test image is a", model.manifest.classes[probabilities.argmax()]
)
