"""Verification that a killed and resumed run ends in the same bytes as an uninterrupted one.

Covers SIGKILL of a single process at random moments, but not power cuts. Files damaged by the disk
are found by the hashes of a checkpoint when it is read.
"""

import csv
import hashlib
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import tomli_w

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.errors import TrainingError
from alexnet_cli.runs import RunFolder
from alexnet_cli.training.checkpoint import MODEL_FILE, OPTIMIZER_FILE
from alexnet_cli.training.saving import best_checkpoint, newest_checkpoint, saved_steps

SHORT: dict[str, Any] = {
    "data": "shapes", "image_size": 12, "crop_size": 8, "val_size": 8_000, "epochs": 3,
    "batch_size": 16, "patience": 1, "ema_decay": 0.99,
}  # fmt: skip
"""Settings of a run of some seconds that uses everything a resume has to restore."""

_FIRST_UPDATE = "first update"
_TIMES = ("train_seconds", "val_seconds", "images_per_second", "data_wait_share")


@dataclass(frozen=True)
class Attempt:
    """One process of the run that is killed.

    Attributes:
        seconds: How long it lived.
        killed: Whether it was killed; the last one ends by itself.
        saved_step: Step of the newest checkpoint after it; 0: none.
        exit_seconds: From the signal to its end.
    """

    seconds: float
    killed: bool
    saved_step: int
    exit_seconds: float


@dataclass(frozen=True)
class FileComparison:
    """A result of both runs, as SHA-256: of the uninterrupted run and of the killed run."""

    name: str
    whole: str
    killed: str

    @property
    def is_same(self) -> bool:
        """Whether they agree, byte for byte."""
        return self.whole == self.killed


class KilledRun:
    """A short training, run twice in a folder: uninterrupted, and killed.

    Args:
        settings: Of the run, by name of their field; `SHORT` fills in the rest.
        folder: Where both run folders go; it must be empty.
        arguments: More of the command line, for both.
    """

    def __init__(self, settings: dict[str, Any], folder: Path, arguments: Sequence[str]) -> None:
        self._folder, self._arguments = folder, arguments
        both = {**SHORT, **settings}
        config = TrainConfig(**both).model_dump(mode="json", include=set(both))
        self._config = folder / "settings.toml"
        self._config.write_text(tomli_w.dumps(config))
        self._training_seconds = 0.0

    def train_whole(self) -> float:
        """Train uninterrupted, and return the seconds it took."""
        begin = time.monotonic()
        with self._process("whole") as process:
            output = _until_first_update(process)
            first = time.monotonic()
            _, rest = process.communicate()
        self._training_seconds = time.monotonic() - first
        _require_success(process.returncode, output + rest)
        return time.monotonic() - begin

    def train_killed(
        self, num_kills: int, *, seed: int, by: signal.Signals = signal.SIGKILL
    ) -> Iterator[Attempt]:
        """Train with a signal to each of the first processes, and resume each time.

        Args:
            num_kills: Most signals; fewer if the run ends before.
            seed: Seed of the moments.
            by: The signal; the default cannot be handled by the process.
        """
        generator = np.random.default_rng(seed)
        for number in range(num_kills + 1):
            delay = float(generator.uniform(0, 1.5 * self._training_seconds / num_kills))
            attempt = self._attempt(delay if number < num_kills else None, by)
            yield attempt
            if not attempt.killed:
                return

    def _attempt(self, delay_seconds: float | None, by: signal.Signals) -> Attempt:
        """Run one process, and signal it after a delay from its first update."""
        begin, signalled = time.monotonic(), math.inf
        with self._process("killed") as process:
            output = _until_first_update(process)
            try:
                _, rest = process.communicate(timeout=delay_seconds)
            except subprocess.TimeoutExpired:
                signalled = time.monotonic()
                process.send_signal(by)
                _, rest = process.communicate()
        end = time.monotonic()
        killed = process.returncode in (-by, 128 + by)  # else it ended before the signal arrived
        if not killed:
            _require_success(process.returncode, output + rest)
        steps = saved_steps(self._run("killed").checkpoints)
        exit_seconds = max(0.0, end - signalled)
        return Attempt(end - begin, killed, steps[0] if steps else 0, exit_seconds)

    def _process(self, name: str) -> "subprocess.Popen[str]":
        run = self._run(name)
        if run.has_checkpoint():
            begin = ["--resume", str(run.path)]
        else:  # nothing was saved: move what there is away and start again
            if run.path.exists():
                run.path.rename(_unused(run.path))
            begin = ["--config", str(self._config), "--name", name, "--output", str(self._folder)]
        return subprocess.Popen(  # noqa: S603 - this program itself
            [sys.executable, "-m", "alexnet_cli", "train", "--no-plots", *begin, *self._arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _run(self, name: str) -> RunFolder:
        return RunFolder(self._folder / name)

    def compare(self) -> list[FileComparison]:
        """Compare the results of both runs: weights, optimizer state, metrics."""
        whole, killed = _results(self._run("whole")), _results(self._run("killed"))
        return [FileComparison(name, whole[name], killed.get(name, "missing")) for name in whole]


def _until_first_update(process: "subprocess.Popen[str]") -> str:
    """Wait for the first update, or the end, and return the output until then."""
    lines = []
    for line in cast("IO[str]", process.stderr):
        lines.append(line)
        if line.startswith(_FIRST_UPDATE):
            break
    return "".join(lines)


def _require_success(status: int, stderr: str) -> None:
    if status:
        last = stderr.strip().splitlines()[-2:] or [f"it ended with status {status}"]
        hint = "try the settings with: alexnet train"
        raise TrainingError(f"the training failed: {' '.join(last)}", hint=hint)


def _unused(path: Path) -> Path:
    number = 1
    while (free := path.with_name(f"{path.name}-{number}-without-checkpoint")).exists():
        number += 1
    return free


def _results(run: RunFolder) -> dict[str, str]:
    newest, best = newest_checkpoint(run.checkpoints), best_checkpoint(run.checkpoints)
    with run.metrics_csv.open(newline="") as file:
        rows = [{k: v for k, v in row.items() if k not in _TIMES} for row in csv.DictReader(file)]
    contents: dict[str, Callable[[], bytes]] = {
        "last weights": (newest.folder / MODEL_FILE).read_bytes,
        "optimiser state": (newest.folder / OPTIMIZER_FILE).read_bytes,
        "best weights": (best.folder / MODEL_FILE).read_bytes,
        "figures of all epochs": lambda: repr(rows).encode(),
    }
    return {name: hashlib.sha256(read()).hexdigest() for name, read in contents.items()}
