"""Start from trained weights: a new last layer for the classes of a folder, the rest as it was.

`python fine_tune.py FOLDER [WEIGHTS] [EPOCHS]`. WEIGHTS is `owt` (after `alexnet download --weights
owt`), a run folder, or a .safetensors file of `alexnet export`. The command line does the same:
`alexnet train --from owt --data FOLDER --freeze features`.
"""

import sys
from pathlib import Path

from alexnet_cli.config.schema import Freeze, TrainConfig
from alexnet_cli.training.device import resolve_device
from alexnet_cli.training.open_model import open_pretrained, settings_of
from alexnet_cli.training.run import prepare_run, train_run

if len(sys.argv) < 2:
    print(__doc__, file=sys.stderr)
    sys.exit(2)
folder = Path(sys.argv[1])
weights = sys.argv[2] if len(sys.argv) > 2 else "owt"
epochs = int(sys.argv[3]) if len(sys.argv) > 3 else 10

settings = settings_of(weights)  # their network and image sizes, and a small rate
config = TrainConfig(
    data=str(folder),
    from_weights=weights,
    freeze=Freeze.FEATURES,  # only the fully connected layers learn
    epochs=epochs,
    batch_size=32,
    **settings,
)
run = prepare_run(config, resolve_device("auto"), name="fine-tuned", parent=Path("runs"))
best = train_run(run)
num_before = len(open_pretrained(weights).manifest.classes)
print(f"{num_before} classes before, {len(run.manifest.classes)} now")
print(f"best val acc {best.val_top1:.1%} in epoch {best.epoch}: {run.folder.path}")
