"""Train on a folder of images, one subfolder a class, and measure the result.

`python own_images.py FOLDER [EPOCHS]`. FOLDER holds CLASS/ folders; or train/CLASS/, test/CLASS/
and, if validation images are not to be drawn from the training images, val/CLASS/.
"""

import sys
from pathlib import Path

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.training.device import resolve_device
from alexnet_cli.training.run import prepare_run, train_run

if len(sys.argv) < 2:
    print(__doc__, file=sys.stderr)
    sys.exit(2)
folder = Path(sys.argv[1])
epochs = int(sys.argv[2]) if len(sys.argv) > 2 else 30

config = TrainConfig(
    data=str(folder),
    epochs=epochs,
    batch_size=32,
    image_size=32,  # alexnet-cifar's; for larger images: model="alexnet", image_size=256
)
run = prepare_run(config, resolve_device("auto"), name="own-images", parent=Path("runs"))
print(run.describe())
best = train_run(run)
print(f"best val acc {best.val_top1:.1%} in epoch {best.epoch}: {run.folder.path}")
