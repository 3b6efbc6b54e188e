"""Part `memory`: peak resident memory of a short run, each side in a process of its own.

Linux only. Two readings a run: the peak of the main process by itself (`VmHWM`, which the kernel
keeps), and the peak of it and its workers together, shared pages counted once (sampled every tenth
of a second).
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.data.datasets import find_dataset, load_training
from alexnet_cli.runs import create_run
from benchmarks import images, ours, plain_loop
from benchmarks.family import kibibytes, together_mb
from benchmarks.figures import Figure, Goal
from benchmarks.machine import ROOT
from benchmarks.settings import Settings

_SIDES = ("ours", "plain")
_SAMPLE_SECONDS = 0.1
_NUM_VALIDATED = 1_000


def measure(settings: Settings) -> list[Figure]:
    """Run both sides in turn, each in fresh processes."""
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
        Figure(
            "memory",
            what,
            f"plain loop, {reading}",
            "MB",
            [pair[index] for pair in peaks["ours"]],
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
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    together = 0.0
    while process.poll() is None:
        together = max(together, together_mb(process.pid))
        time.sleep(_SAMPLE_SECONDS)
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{side} ended with {process.returncode}: {' '.join(command)}")
    return float(output.strip().splitlines()[-1]), together


def _own_peak_mb() -> float:
    # Not getrusage: its figure survives the exec and may be the parent's.
    return kibibytes(Path("/proc/self/status"), "VmHWM") * 1024 / 1e6


def run_ours(given: argparse.Namespace) -> None:
    """Load, train, validate and save as `alexnet train` does."""
    config = TrainConfig(data=given.data, batch_size=given.size)
    train, val = load_training(find_dataset(given.data), val_size=_NUM_VALIDATED, seed=config.seed)
    with tempfile.TemporaryDirectory() as folder:
        run = create_run("memory", parent=Path(folder))
        trainer = ours.make_trainer(config, train, device=given.device, val=val, run=run)
        ours.train_last_batches(trainer, given.batches)
        ours.finish_epoch(trainer)


def run_plain(given: argparse.Namespace) -> None:
    """Load, train, validate on as many images and save, as the plain loop does."""
    config = TrainConfig(data=given.data)
    manifest = ours.describe(config, ours.noise_images(1))
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
    """Run one side and print the main process's own peak in MB."""
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=_SIDES)
    parser.add_argument("--data", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--device", type=torch.device, required=True)
    parser.add_argument("--batches", type=int, required=True)
    parser.add_argument("--size", type=int, required=True)
    given = parser.parse_args()
    if given.side == "ours":
        run_ours(given)
    else:
        run_plain(given)
    print(_own_peak_mb())


if __name__ == "__main__":
    main()
