"""From a run's epochs to the numbers that the claims are about.

One run: `alexnet train` in a process, then `alexnet evaluate` on the test set.
"""

import csv
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.errors import CheckpointError, TrainingError
from alexnet_cli.paper.experiments import TRAIN_ERROR, Measure
from alexnet_cli.paper.plan import PlannedRun
from alexnet_cli.paper.result import FinishedRun, LogRow, TestResult, provenance_of
from alexnet_cli.paper.tables import outcome
from alexnet_cli.runs import RunFolder
from alexnet_cli.training.checkpoint import Checkpoint, EpochRow
from alexnet_cli.training.saving import newest_checkpoint

_CHANCE_ERROR = 0.9  # of ten classes, before the first update


def told_history(metrics_csv: Path) -> tuple[EpochRow, ...]:
    """Return the epochs that a running training has told of, none where the file says nothing.

    It may be ahead of the newest checkpoint.
    """
    try:
        with metrics_csv.open(newline="") as file:
            return tuple(
                EpochRow(int(row.pop("epoch")), **{name: float(row[name]) for name in row})
                for row in csv.DictReader(file)
            )
    except (OSError, ValueError, TypeError, KeyError):
        return ()


def epochs_to_train_error(history: Sequence[EpochRow], error: float = TRAIN_ERROR) -> float | None:
    """Return after how many epochs the training error first was this low, None if it never was.

    The error of an epoch is the mean over its updates: it is taken as that of the epoch's middle,
    and between two middles the error is taken to fall in a straight line.

    Args:
        history: Of the run, from its first epoch on.
        error: Share of the training images, 0–1.
    """
    before, error_before = 0.0, _CHANCE_ERROR
    for row in history:
        middle, now = row.epoch - 0.5, 1 - row.train_top1
        if now <= error:
            return before + (middle - before) * (error_before - error) / (error_before - now)
        before, error_before = middle, now
    return None


_LOOK_SECONDS = 0.5
_DIVERGED, _BUSY = "not_finite", "run_busy"
_WAIT = "wait for it, or end it"
_KEPT_VARIABLE = "ALEXNET_HOME"

History = Sequence[EpochRow]
IsEnough = Callable[[PlannedRun, History], bool]
"""Whether a run, with the epochs it has, need not go on."""


class OneRun:
    """Carries out runs, one in each thread that calls it.

    Args:
        parent: Of the run folders.
        device: As on the command line.
        halt: Set when the runs are to save and stop.
        told: Told when a run begins and ends.
        num_threads: Of each process.
        runs_at_once: Runs that share the machine.
    """

    def __init__(
        self,
        parent: Path,
        device: str,
        *,
        halt: threading.Event,
        told: Callable[[str], None],
        num_threads: int,
        runs_at_once: int,
    ) -> None:
        self._parent, self._device, self._halt, self._told = parent, device, halt, told
        self._num_threads, self._runs_at_once = num_threads, runs_at_once

    def carry_out(self, run: PlannedRun, is_enough: IsEnough) -> FinishedRun:
        """Train what is missing of a run, and measure it.

        Raises:
            TrainingError: It failed, or was told to stop.
        """
        folder = RunFolder(self._parent / run.name)
        history = _saved_history(run, folder)
        if not _is_over(run, history, is_enough):
            self._told(f"{run.label}: {'goes on' if history else 'begins'}")
            self._train(run, folder, is_enough)
            history = _saved_history(run, folder)
        views = sorted({measure.num_views for measure in run.measures} - {0})
        tests = tuple(self._test(run, folder, each) for each in views)
        result = self._finished(run, folder, history, tests)
        self._told(f"{run.label}: {outcome(result)}")
        return result

    def _train(self, run: PlannedRun, folder: RunFolder, is_enough: IsEnough) -> None:
        """Train to the end, or until it is enough."""
        if folder.has_checkpoint():
            folder.metrics_csv.unlink(missing_ok=True)  # of epochs that may not be saved
            begin = ["--resume", str(folder.path), "--allow-drift"]  # the provenance says so
        else:
            _remove_unsaved(folder)
            begin = [*run.flags, "--name", run.name, "--output", str(self._parent)]
        process = self._start("train", "--no-plots", *begin)
        stderr = self._wait(process, lambda: is_enough(run, told_history(folder.metrics_csv)))
        if process.returncode and not _is_over(run, _saved_history(run, folder), is_enough):
            self._fail(run, folder, process.returncode, stderr)

    def _wait(self, process: "subprocess.Popen[str]", is_enough: Callable[[], bool]) -> str:
        """Wait for a training, ask it once to save and stop if it need not go on; its stderr."""
        was_asked = False
        try:
            while True:
                try:
                    return process.communicate(timeout=_LOOK_SECONDS)[1]
                except subprocess.TimeoutExpired:
                    if not was_asked and (self._halt.is_set() or is_enough()):
                        process.send_signal(signal.SIGTERM)  # a second one would not let it save
                        was_asked = True
        except BaseException:
            process.terminate()
            raise

    def _fail(self, run: PlannedRun, folder: RunFolder, status: int, stderr: str) -> None:
        """Raise what a training ended with, unless it is that a rate to be tried is too high."""
        error = _error_in(stderr)
        if error.get("code") == _DIVERGED and run.measures == (Measure.EPOCHS,):
            return
        if self._halt.is_set():
            raise TrainingError(f"{run.label} was stopped", code="stopped")
        raise _failed(run, folder, error.get("message", f"it ended with status {status}"), error)

    def _test(self, run: PlannedRun, folder: RunFolder, num_views: int) -> TestResult:
        """Measure the best epoch on the test set."""
        views = ("--split", "test", "--views", str(num_views))
        process = self._start("evaluate", str(folder.path), *views)
        stdout, stderr = process.communicate()
        if process.returncode:
            error = _error_in(stderr)
            message = error.get("message", f"evaluate ended with status {process.returncode}")
            raise _failed(run, folder, message, error)
        for warning in stderr.splitlines():  # as that the best checkpoint is damaged
            self._told(f"{run.label}: {warning}")
        found = json.loads(stdout)
        return TestResult(
            num_views=num_views,
            top1=found["top1"],
            top1_interval=tuple(found["top1_interval"]),
            num_images=found["num_images"],
        )

    def _start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start this program; what the user set for it by variables is not for the experiment.

        In a session of its own: Ctrl-C reaches this process alone, which asks the others once.
        """
        variables = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("ALEXNET_") or name == _KEPT_VARIABLE
        }
        command = [sys.executable, "-m", "alexnet_cli", *arguments, "--device", self._device]
        return subprocess.Popen(  # noqa: S603 - this program itself
            [*command, "--json", "--quiet"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**variables, "OMP_NUM_THREADS": str(self._num_threads)},
        )

    def _finished(
        self,
        run: PlannedRun,
        folder: RunFolder,
        history: History,
        tests: tuple[TestResult, ...],
    ) -> FinishedRun:
        seconds = sum(row.train_seconds + row.val_seconds for row in history)
        return FinishedRun(
            arm=run.arm,
            seed=run.seed,
            key=run.key,
            command=run.command,
            learning_rate=run.config.learning_rate,
            epochs=len(history),
            seconds=round(seconds, 1),
            epochs_to_train_error=epochs_to_train_error(history),
            tests=tests,
            provenance=provenance_of(folder, runs_at_once=self._runs_at_once),
            log=tuple(_log_row(row) for row in history),
        )


def _saved_history(run: PlannedRun, folder: RunFolder) -> History:
    """Return the epochs of the newest whole checkpoint: what a run has for certain.

    Raises:
        TrainingError: The folder is of a run with other settings, or all of it is damaged.
    """
    try:
        checkpoint = newest_checkpoint(folder.checkpoints)
    except CheckpointError as error:
        if not folder.has_checkpoint():
            return ()
        raise _unusable(folder, error.message, code=error.code) from error
    _require_settings(run, folder, checkpoint)
    return checkpoint.state.history


def _require_settings(run: PlannedRun, folder: RunFolder, checkpoint: Checkpoint) -> None:
    try:
        is_same = TrainConfig(**checkpoint.config) == run.config
    except ValidationError:  # of a version with other settings
        is_same = False
    if not is_same:
        raise _unusable(folder, "it has other settings than its name says", code="config_differs")


def _unusable(folder: RunFolder, reason: str, *, code: str) -> TrainingError:
    path = shlex.quote(str(folder.path))
    return TrainingError(
        f"the run {folder.path} cannot go on: {reason}",
        hint=f"move it away, to begin it anew: mv {path} {path}-old",
        code=code,
    )


def _is_over(run: PlannedRun, history: History, is_enough: IsEnough) -> bool:
    return len(history) >= run.config.epochs or is_enough(run, history)


def _remove_unsaved(folder: RunFolder) -> None:
    """Delete what there is of a run that never saved, unless somebody is training it."""
    if not folder.path.exists():
        return
    try:
        with FileLock(folder.path / ".lock", timeout=0):
            shutil.rmtree(folder.path)
    except Timeout as error:
        raise TrainingError(
            f"another process is training {folder.path}",
            hint=_WAIT,
            code=_BUSY,
        ) from error


def _error_in(stderr: str) -> dict[str, str]:
    """Return the error that a command printed as JSON; warnings may stand around it."""
    for line in reversed(stderr.splitlines()):
        try:
            document: Any = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict) and isinstance(document.get("error"), dict):
            return {key: value for key, value in document["error"].items() if value is not None}
    return {}


def _failed(
    run: PlannedRun, folder: RunFolder, message: str, error: dict[str, str]
) -> TrainingError:
    hint = error.get("hint", "")
    if error.get("code") == _BUSY:
        hint = _WAIT
    elif not hint or "train" in hint:  # which would leave the experiment
        hint = f"try it alone: {run.command}"
    return TrainingError(f"the run {folder.path} failed: {message}", hint=hint, code="run_failed")


def _log_row(row: EpochRow) -> LogRow:
    return (row.epoch, row.learning_rate, round(row.train_loss, 5), round(row.train_top1, 5),
            round(row.val_loss, 5), round(row.val_top1, 5), round(row.train_seconds, 1),
            round(row.val_seconds, 1))  # fmt: skip
