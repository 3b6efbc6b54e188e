"""The time of a run before its first batch, without importing PyTorch.

`python -m benchmarks.start [--data cifar10] [--rounds 7] [--output start.json]`. Each round is a
process of its own. It imports everything first; then it loads the training images from the arrays
in the cache folder, holds some out, and describes the network, as `train` does before it creates
the run folder. A first round makes the arrays; its time is reported separately. The archive must be
in the cache folder: `alexnet download`.
"""

import argparse
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import torch._dynamo  # noqa: F401 - PyTorch imports it for every optimizer: not ours to save

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.data.arrays import training_statistics
from alexnet_cli.data.datasets import find_dataset, load_training
from alexnet_cli.data.run_images import RunImages
from alexnet_cli.files import cache_folder
from alexnet_cli.training.setup import describe_model, require_fit, resolve_sizes
from benchmarks.machine import new_result, write_result
from benchmarks.metrics import summarise

_GOAL_SECONDS = 0.5


def start(data: str) -> dict[str, float]:
    """Prepare a run as `train` does, and return the seconds of each part."""
    config, times = TrainConfig(data=data), [time.perf_counter()]
    dataset = find_dataset(data)
    train, val = load_training(dataset, val_size=config.val_size, seed=config.seed)
    times.append(time.perf_counter())
    RunImages(train, val).fingerprint  # noqa: B018
    times.append(time.perf_counter())
    size_px, _ = resolve_sizes(config, stored_px=dataset.image_size_px)
    colours = training_statistics(train, size_px=size_px, seed=config.seed, num_workers=0)
    times.append(time.perf_counter())
    manifest = describe_model(config, dataset, colours)
    require_fit(config, manifest.network, num_images=len(train))
    times.append(time.perf_counter())
    names = ("load, check the hash, hold out", "fingerprint of the split", "statistics", "network")
    parts = dict(zip(names, (b - a for a, b in itertools.pairwise(times)), strict=True))
    return {**parts, "all": times[-1] - times[0]}


def _in_a_process(data: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.start", "--data", data, "--rounds", "0"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds: dict[str, float] = json.loads(result.stdout)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=["cifar10", "cifar100"], default="cifar10")
    parser.add_argument("--rounds", type=int, default=7, help="0: one, in this process")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    if not given.rounds:
        print(json.dumps(start(given.data)))
        return
    for path in cache_folder().glob(f"{given.data}-*.npy"):
        path.unlink()
    first = _in_a_process(given.data)
    rounds = [_in_a_process(given.data) for _ in range(given.rounds)]
    seconds = {name: summarise([each[name] for each in rounds]) for name in first}
    result = {
        **new_result("start"),
        "data": given.data,
        "seconds": seconds,
        "seconds_first_from_archive": first["all"],
        "goal": f"<= {_GOAL_SECONDS}",
        "met": seconds["all"]["median"] <= _GOAL_SECONDS,
    }
    write_result(result, given.output)


if __name__ == "__main__":
    main()
