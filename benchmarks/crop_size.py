"""The crop size for alexnet-cifar: validation accuracy and time, without the test set.

`python benchmarks/crop_size.py > benchmarks/results/crop_size-HARDWARE.json` (CIFAR-10 downloaded;
about 35 minutes on two idle cores). The time of an epoch is only comparable on an idle machine.
"""

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

EPOCHS = 6
START = ("--init", "he", "--bias-rate-factor", 1, "--bias-decay")  # the default when it was run
CHOICES = ((28, 0), (24, 0), (32, 4))  # crop in pixels, zero pixels around the image


def train(crop: int, pad: int, folder: Path) -> list[dict[str, float]]:
    """Train one choice and return crop, accuracy and seconds of each epoch."""
    name = f"crop{crop}"
    settings = ["--epochs", EPOCHS, "--schedule", "linear", "--crop-size", crop, "--pad", pad]
    settings += START
    command = [
        sys.executable,
        "-m",
        "alexnet_cli",
        "train",
        "--no-plots",
        "--seed",
        1,
        "--name",
        name,
    ]
    subprocess.run(
        [*map(str, command), *map(str, settings), "--output", str(folder)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    rows = csv.DictReader((folder / name / "metrics.csv").read_text().splitlines())
    return [{key: float(row[key]) for key in ("val_top1", "train_seconds")} for row in rows]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        results = {
            f"crop {crop}, pad {pad}": train(crop, pad, Path(temporary)) for crop, pad in CHOICES
        }
    print(json.dumps({"epochs": EPOCHS, "seed": 1, "results": results}, indent=1))
