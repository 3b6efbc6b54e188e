"""Train with the address space limited: `python train_in_little_memory.py FOLDER SPARE_MIB MICRO`.

Prints the sizes that batches were divided to, as JSON.
"""

import json
import resource
import sys
from pathlib import Path

import numpy as np
import torch

from alexnet_cli.config.schema import Precision, TrainConfig
from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.data.datasets import find_dataset
from alexnet_cli.runs import RunFolder
from alexnet_cli.training.loop import Trainer
from alexnet_cli.training.reporting import Reporter
from alexnet_cli.training.setup import TrainingRun, describe_model

folder, spare_mib, micro = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])


class Sizes(Reporter):
    """Keeps the sizes that batches are divided to."""

    def __init__(self) -> None:
        self.found: list[int] = []

    def on_smaller_pieces(self, micro_batch_size: int) -> None:
        """Keep it."""
        self.found.append(micro_batch_size)


def limit_memory() -> None:
    """Leave so much more than is in use now."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (spare_mib << 20), resource.RLIM_INFINITY))


generator = np.random.default_rng(0)
pixels = generator.integers(0, 256, (512, 32, 32, 3), dtype=np.uint8)
images = ImageArrays(pixels, generator.integers(0, 10, 512))
config = TrainConfig(
    data="shapes", epochs=1, batch_size=256, micro_batch_size=micro, precision=Precision.FP32
)
manifest = describe_model(config, find_dataset("shapes"), images.colour_statistics())
few = images.take(np.arange(20))


def job(name: str, train: ImageArrays) -> TrainingRun:
    """Return what to train, in a folder of its own."""
    path = folder / name
    path.mkdir(parents=True)
    return TrainingRun(
        config, manifest, train, few, RunFolder(path), torch.device("cpu"), torch.float32
    )


Trainer(job("first", few), Reporter()).run()  # what is loaded once only
reporter = Sizes()
trainer = Trainer(job("run", images), reporter)
if spare_mib:
    limit_memory()
trainer.run()
sys.stdout.write(json.dumps(reporter.found))
