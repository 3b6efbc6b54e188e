"""Verification that a killed and resumed run ends in the same bytes as an uninterrupted one.

Covers SIGKILL of a single process at random moments, but not power cuts. Files damaged by the disk
are found by the hashes of a checkpoint when it is read.
"""

import contextlib
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

_POLL_SECONDS = 0.01
_TIMES = ("train_seconds", "val_seconds", "images_per_second", "data_wait_share")


@dataclass(frozen=True)
class Attempt:
    seconds: float  # that it lived
    killed: bool  # the last one ends by itself
    saved_step: int  # of the newest checkpoint after it; 0 = none
    exit_seconds: float  # from the signal to its end


@dataclass(frozen=True)
class FileComparison:
    """A result of both runs, as SHA-256: of the uninterrupted run and of the killed run."""

    name: str
    uninterrupted: str
    killed: str

    @property
    def is_same(self) -> bool:
        return self.uninterrupted == self.killed


class KilledRun:
    """A short training, run twice in an empty folder: uninterrupted, and killed.

    `VERIFY_SETTINGS` complete the settings, which have the names of their fields. `arguments` are
    more of the command line, for both runs. `save_steps` are the updates between checkpoints;
    0 = only after epochs.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        folder: Path,
        arguments: Sequence[str],
        *,
        save_steps: int,
    ) -> None:
        self._folder, self._save_steps = folder, save_steps
        self._arguments = [*arguments, "--save-steps", str(save_steps)]
        both = {**VERIFY_SETTINGS, **settings}
        config = TrainConfig(**both).model_dump(mode="json", include=set(both))
        self._config = folder / "settings.toml"
        self._config.write_text(tomli_w.dumps(config), encoding="utf-8")
        self._num_epochs = int(config["epochs"])
        self._num_steps, self._training_seconds = 0, 0.0

    def train_uninterrupted(self) -> float:
        """Train uninterrupted, and return the seconds it took."""
        begin = time.monotonic()
        with self._process("uninterrupted") as process:
            output = _until_first_update(process)
            first = time.monotonic()
            _, rest = process.communicate()
        self._training_seconds = time.monotonic() - first
        _require_success(process.returncode, output + rest)
        self._num_steps = saved_steps(self._run("uninterrupted").checkpoints)[0]
        return time.monotonic() - begin

    def train_killed(
        self, num_kills: int, *, seed: int, by: signal.Signals = signal.SIGKILL
    ) -> Iterator[Attempt]:
        """Train with a signal to each of the first `num_kills` processes, and resume each time.

        A signal comes after a random step has been saved, by up to the time between two saves;
        `seed` fixes when. A SIGKILL loses what was not saved, so the run does not reach its end.

        Raises:
            TrainingError: A process ended before its signal.
        """
        steps_per_epoch = self._num_steps // self._num_epochs
        interval = min(self._save_steps or steps_per_epoch, self._num_steps // 2)
        seconds = interval * self._training_seconds / self._num_steps
        generator = np.random.default_rng(seed)
        last = max(1, self._num_steps - 3 * interval)
        steps = sorted(generator.integers(last, size=num_kills).tolist())
        for number, step in enumerate(steps, start=1):
            attempt = self._attempt(by, step, float(generator.uniform(0, seconds)))
            yield attempt
            if not attempt.killed:
                raise TrainingError(
                    f"the run ended before kill {number} of {num_kills}: nothing is proven",
                    hint=f"try a longer one: alexnet verify-resume --epochs {2 * self._num_epochs}",
                    code="not_killed",
                )
        yield self._attempt(by)

    def _attempt(
        self, by: signal.Signals, step: int | None = None, delay_seconds: float = 0.0
    ) -> Attempt:
        """Run one process; with a step, signal it some time after that step was saved."""
        begin, signalled = time.monotonic(), math.inf
        with self._process("killed") as process:
            output = _until_first_update(process)
            if step is not None:
                while self._saved_step() < step and not _has_ended(process, within=_POLL_SECONDS):
                    pass
                _has_ended(process, within=delay_seconds)
                signalled = time.monotonic()
                process.send_signal(by)
            _, rest = process.communicate()
        end = time.monotonic()
        killed = process.returncode in (-by, 128 + by)  # else it ended before the signal arrived
        if not killed:
            _require_success(process.returncode, output + rest)
        exit_seconds = max(0.0, end - signalled)
        return Attempt(end - begin, killed, self._saved_step(), exit_seconds)

    def _saved_step(self) -> int:
        """Return the newest saved step of the killed run, 0 before the first."""
        return next(iter(saved_steps(self._run("killed").checkpoints)), 0)

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
        uninterrupted = _results(self._run("uninterrupted"))
        killed = _results(self._run("killed"))
        return [FileComparison(name, uninterrupted[name], killed[name]) for name in killed]


def _until_first_update(process: "subprocess.Popen[str]") -> str:
    """Wait for the first update, or the end, and return the output until then."""
    lines = []
    for line in cast("IO[str]", process.stderr):
        lines.append(line)
        if line.startswith("first update"):
            break
    return "".join(lines)


def _has_ended(process: "subprocess.Popen[str]", *, within: float) -> bool:
    """Wait for the end, some seconds at most; reads the output, so that no full pipe blocks it."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=within)
        return True
    return False


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
