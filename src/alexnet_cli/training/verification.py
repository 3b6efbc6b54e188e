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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import tomli_w

from alexnet_cli.config.recipes import VERIFY_SETTINGS
from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.errors import TrainingError
from alexnet_cli.files import sha256_of
from alexnet_cli.run_folder import RunFolder
from alexnet_cli.training.checkpoint import (
    MODEL_FILE,
    OPTIMIZER_FILE,
    best_checkpoint,
    newest_checkpoint,
    saved_steps,
)

_TIMES = ("train_seconds", "val_seconds", "images_per_second", "data_wait_share")


@dataclass(frozen=True)
class Attempt:
    seconds: float  # that it lived
    killed: bool  # the last one ends by itself
    saved_step: int  # of the newest checkpoint after it; 0: none
    exit_seconds: float  # from the signal to its end


@dataclass(frozen=True)
class FileComparison:
    """A result of both runs, as SHA-256: of the uninterrupted run and of the killed run."""

    name: str
    whole: str
    killed: str

    @property
    def is_same(self) -> bool:
        return self.whole == self.killed


class KilledRun:
    """A short training, run twice in an empty folder: uninterrupted, and killed.

    `VERIFY_SETTINGS` complete the settings, which have the names of their fields. `arguments` are
    more of the command line, for both runs.
    """

    def __init__(self, settings: dict[str, Any], folder: Path, arguments: Sequence[str]) -> None:
        self._folder, self._arguments = folder, arguments
        both = {**VERIFY_SETTINGS, **settings}
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

        There are at most `num_kills` signals, fewer if the run ends before; `seed` fixes when.
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
                run.path.rename(f"{run.path}-without-checkpoint-{time.time_ns()}")
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
        return [FileComparison(name, whole[name], killed[name]) for name in whole]


def _until_first_update(process: "subprocess.Popen[str]") -> str:
    """Wait for the first update, or the end, and return the output until then."""
    lines = []
    for line in cast("IO[str]", process.stderr):
        lines.append(line)
        if line.startswith("first update"):
            break
    return "".join(lines)


def _require_success(status: int, stderr: str) -> None:
    if status:
        last = stderr.strip().splitlines()[-2:] or [f"it ended with status {status}"]
        hint = "try the settings with: alexnet train"
        raise TrainingError(f"the training failed: {' '.join(last)}", hint=hint)


def _results(run: RunFolder) -> dict[str, str]:
    newest, best = newest_checkpoint(run.checkpoints), best_checkpoint(run.checkpoints)
    with run.metrics_csv.open(newline="") as file:
        rows = [{k: v for k, v in row.items() if k not in _TIMES} for row in csv.DictReader(file)]
    return {
        "last weights": sha256_of(newest.folder / MODEL_FILE),
        "optimiser state": sha256_of(newest.folder / OPTIMIZER_FILE),
        "best weights": sha256_of(best.folder / MODEL_FILE),
        "figures of all epochs": hashlib.sha256(repr(rows).encode()).hexdigest(),
    }
