"""Train with the address space limited: `python train_in_little_memory.py FOLDER SPARE_MIB MICRO`.

Ends with 1 and prints the code and the hint of the error on stderr, if memory runs out.
"""

import resource
import sys
from pathlib import Path

import numpy as np
import torch

from alexnet_cli.config.schema import Precision, TrainConfig
from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.data.datasets import find_dataset
from alexnet_cli.errors import TrainingError
from alexnet_cli.run_folder import RunFolder
from alexnet_cli.training.run import train_run
from alexnet_cli.training.setup import TrainingRun, describe_model

folder, spare_mib, micro = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])


def limit_memory():
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


def prepare(name, images):
    """Return a run in a folder of its own."""
    path = folder / name
    path.mkdir(parents=True)
    return TrainingRun(
        config, manifest, images, few, RunFolder(path), torch.device("cpu"), torch.float32
    )


train_run(prepare("first", few))  # loads what is loaded once
limit_memory()
try:
    train_run(prepare("run", images))
except TrainingError as error:
    sys.exit(f"{error.code}: {error.hint}")
