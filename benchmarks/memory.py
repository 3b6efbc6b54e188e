"""Part `memory`: peak resident memory of a short run, each side in a process of its own.

Linux only. Two values a run: the peak of the main process (`VmHWM` of the kernel), and the peak of
it and its workers together, shared pages counted once, sampled every tenth of a second.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import torch

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.data.datasets import find_dataset, load_training
from alexnet_cli.run_folder import create_run
from benchmarks import alexnet_side, images, plain_loop
from benchmarks.family import kibibytes, run_sampled
from benchmarks.metrics import Comparison, Goal
from benchmarks.settings import Settings

_SIDES = ("alexnet", "plain")
_SAMPLE_SECONDS = 0.1
_NUM_VALIDATED = 1_000


def measure(settings: Settings) -> list[Comparison]:
    """Run both sides in turns, each in a new process."""
    if not Path("/proc/self/smaps_rollup").exists():
        return []
    peaks: dict[str, list[tuple[float, float]]] = {side: [] for side in _SIDES}
    train, test = images.load(settings.data)
    with images.plain_files(train, test) as folder:
        for _ in range(settings.long_repeats):
            for side in _SIDES:
                peaks[side].append(_peaks_of(side, settings, folder))
    what = (
        f"{settings.memory_batches} updates, {_NUM_VALIDATED:,} images validated, {settings.data}"
    )
    readings = ("the main process alone", "with its 2 workers, shared pages once")
    return [
        Comparison(
            "memory",
            what,
            f"plain loop, {reading}",
            "MB",
            [pair[index] for pair in peaks["alexnet"]],
            [pair[index] for pair in peaks["plain"]],
            goal=Goal("<=", 1.0),
        )
        for index, reading in enumerate(readings)
    ]


def _peaks_of(side: str, settings: Settings, folder: Path) -> tuple[float, float]:
    """Run one side and return its two peaks in MB."""
    command = [
        *(sys.executable, "-m", "benchmarks.memory", side),
        *("--data", settings.data, "--folder", str(folder), "--device", str(settings.device)),
        *("--batches", str(settings.memory_batches), "--size", str(settings.batch_size)),
    ]
    output, together_mb = run_sampled(command, every_seconds=_SAMPLE_SECONDS)
    return float(output.strip().splitlines()[-1]), together_mb


def _own_peak_mb() -> float:
    # Not getrusage: its peak survives the exec and may be the parent's.
    return kibibytes(Path("/proc/self/status"), "VmHWM") * 1024 / 1e6


def run_alexnet(given: argparse.Namespace) -> None:
    """Load, train, validate and save as `alexnet train` does."""
    config = TrainConfig(data=given.data, batch_size=given.size)
    train, val = load_training(find_dataset(given.data), val_size=_NUM_VALIDATED, seed=config.seed)
    with tempfile.TemporaryDirectory() as folder:
        run = create_run("memory", parent=Path(folder))
        trainer = alexnet_side.make_trainer(config, train, device=given.device, val=val, run=run)
        alexnet_side.train_last_batches(trainer, given.batches)
        alexnet_side.finish_epoch(trainer)


def run_plain(given: argparse.Namespace) -> None:
    """Load, train, validate on as many images and save, as the plain loop does."""
    config = TrainConfig(data=given.data)
    manifest = alexnet_side.describe(config, alexnet_side.noise_images(1))
    loop = plain_loop.PlainLoop.create(manifest, given.device)
    shared = {"crop_px": manifest.input.crop_size_px, "batch_size": given.size}
    num_images = given.batches * given.size
    train = plain_loop.make_loader(given.folder, is_training=True, num_images=num_images, **shared)
    test = plain_loop.make_loader(
        given.folder, is_training=False, num_images=_NUM_VALIDATED, **shared
    )
    loop.train_one_epoch(train)
    loop.evaluate(test)
    with tempfile.TemporaryDirectory() as folder:
        state = {"model": loop.model.state_dict(), "optimizer": loop.optimizer.state_dict()}
        torch.save(state, Path(folder) / "checkpoint.pth")


def main() -> None:
    """Run one side and print the peak of the main process in MB."""
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=_SIDES)
    parser.add_argument("--data", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--device", type=torch.device, required=True)
    parser.add_argument("--batches", type=int, required=True)
    parser.add_argument("--size", type=int, required=True)
    given = parser.parse_args()
    if given.side == "alexnet":
        run_alexnet(given)
    else:
        run_plain(given)
    print(_own_peak_mb())


if __name__ == "__main__":
    main()
