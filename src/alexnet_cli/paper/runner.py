"""One run of an experiment: `alexnet train` in a process, then `alexnet evaluate`."""

import csv
import datetime
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.devices import num_cores
from alexnet_cli.errors import CheckpointError, TrainingError
from alexnet_cli.files import lock_folder
from alexnet_cli.paper.experiments import TRAIN_ERROR, Measure
from alexnet_cli.paper.plan import PlannedRun
from alexnet_cli.paper.result import FinishedRun, LogRow, RunProvenance, Score
from alexnet_cli.paper.tables import describe_run
from alexnet_cli.run_folder import RunFolder
from alexnet_cli.training.checkpoint import EpochRow, newest_checkpoint
from alexnet_cli.training.run_files import commit

POLL_SECONDS = 0.5
_CHANCE_ERROR = 0.9  # of ten classes, before the first update
_DIVERGED, _BUSY = "not_finite", "run_busy"  # error codes
_WAIT = "wait for it, or stop it"

History = Sequence[EpochRow]
ShouldStop = Callable[[PlannedRun, History], bool]
"""Called after an epoch with the run and its epochs; True stops the run."""


@dataclass(frozen=True)
class Workspace:
    """The place of an experiment's result and runs."""

    output: Path
    jobs: int  # maximal number of runs at once
    device: str  # as on the command line
    notify: Callable[[str], None]  # called with a message when a run begins and ends

    def result_file(self, experiment: str) -> Path:
        return self.output / "results" / f"{experiment}.json"


@dataclass(frozen=True)
class RunWorker:
    run: PlannedRun
    workspace: Workspace
    should_stop: ShouldStop
    halt: threading.Event  # set to make the run save and stop
    runs_at_once: int  # that share the machine

    @property
    def _folder(self) -> RunFolder:
        return RunFolder(self.workspace.output / "runs" / self.run.name)

    def finish(self) -> FinishedRun:
        """Train the epochs that are missing, then test.

        Raises:
            TrainingError: The run failed or was halted.
        """
        run, history = self.run, self._saved_history()
        if not self._is_over(history):
            self._notify("resumes" if history else "begins")
            self._train_epochs()
            history = self._saved_history()
        views = sorted({measure.num_views for measure in run.measures} - {0})
        seconds = sum(row.train_seconds + row.val_seconds for row in history)
        finished = FinishedRun(
            arm=run.arm,
            seed=run.config.seed,
            key=run.key,
            command=run.command,
            learning_rate=run.config.learning_rate,
            epochs=len(history),
            seconds=round(seconds, 1),
            epochs_to_train_error=epochs_to_train_error(history),
            tests=tuple(self._test(num_views) for num_views in views),
            provenance=_read_provenance(self._folder, runs_at_once=self.runs_at_once),
            log=tuple(_log_row(row) for row in history),
        )
        self._notify(describe_run(finished))
        return finished

    def _notify(self, message: str) -> None:
        self.workspace.notify(f"{self.run.label}: {message}")

    def _is_over(self, history: History) -> bool:
        return len(history) >= self.run.config.epochs or self.should_stop(self.run, history)

    def _saved_history(self) -> History:
        """Return the epochs of the newest valid checkpoint.

        Raises:
            TrainingError: The run has other settings, or all its checkpoints are damaged.
        """
        folder = self._folder
        try:
            checkpoint = newest_checkpoint(folder.checkpoints)
        except CheckpointError as error:
            if not folder.has_checkpoint():
                return ()
            raise _unusable(folder, error.message, code=error.code) from error
        try:
            is_same = TrainConfig(**checkpoint.config) == self.run.config
        except ValidationError:  # it was trained by a version with other settings
            is_same = False
        if not is_same:
            raise _unusable(folder, "its settings differ from its name", code="config_differs")
        return checkpoint.state.history

    def _train_epochs(self) -> None:
        """Train to the last epoch, or until the run should stop."""
        run, folder = self.run, self._folder
        if folder.has_checkpoint():
            folder.metrics_csv.unlink(missing_ok=True)  # it may have epochs that were not saved
            how = ["--resume", str(folder.path), "--allow-drift"]  # the provenance records it
        else:
            _remove_unsaved(folder)
            how = [*run.flags, "--name", run.name, "--output", str(folder.path.parent)]
        process = self._start("train", "--no-plots", *how)
        stderr = self._wait(process)
        if process.returncode == 0 or self._is_over(self._saved_history()):
            return
        error = _error_in(stderr)
        if error.get("code") == _DIVERGED and run.measures == (Measure.EPOCHS,):
            return  # a learning rate that is too high is an outcome of the search
        if self.halt.is_set():
            raise TrainingError(f"{run.label} was stopped", code="stopped")
        raise self._failure(error, process.returncode)

    def _wait(self, process: "subprocess.Popen[str]") -> str:
        """Return the stderr of a training, which is sent one SIGTERM when it should stop."""
        is_stopping = False
        try:
            while True:
                try:
                    return process.communicate(timeout=POLL_SECONDS)[1]
                except subprocess.TimeoutExpired:
                    history = read_metrics(self._folder.metrics_csv)
                    if not is_stopping and (
                        self.halt.is_set() or self.should_stop(self.run, history)
                    ):
                        process.send_signal(signal.SIGTERM)  # with a second one it does not save
                        is_stopping = True
        except BaseException:
            process.terminate()
            raise

    def _test(self, num_views: int) -> Score:
        """Evaluate the best epoch on the test set."""
        views = ("--split", "test", "--views", str(num_views))
        process = self._start("evaluate", str(self._folder.path), *views)
        stdout, stderr = process.communicate()
        if process.returncode:
            raise self._failure(_error_in(stderr), process.returncode)
        for warning in stderr.splitlines():  # for example that the best checkpoint is damaged
            self._notify(warning)
        return Score.model_validate_json(stdout)

    def _start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start this program without the user's ALEXNET_ settings, which are not the experiment's.

        A session of its own keeps Ctrl-C from it: this process asks it to stop, once.
        """
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("ALEXNET_") or name == "ALEXNET_HOME"
        }
        options = ["--device", self.workspace.device, "--json", "--quiet"]
        num_threads = max(1, num_cores() // self.runs_at_once)
        return subprocess.Popen(  # noqa: S603 - this program itself
            [sys.executable, "-m", "alexnet_cli", *arguments, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**environment, "OMP_NUM_THREADS": str(num_threads)},
        )

    def _failure(self, error: dict[str, str], status: int) -> TrainingError:
        message = error.get("message", f"a command of it ended with status {status}")
        hint = error.get("hint", "")
        if error.get("code") == _BUSY:
            hint = _WAIT
        elif not hint or "train" in hint:  # a hint that would leave the experiment
            hint = f"try it alone: {self.run.command}"
        text = f"the run {self._folder.path} failed: {message}"
        return TrainingError(text, hint=hint, code="run_failed")


def epochs_to_train_error(history: History) -> float | None:
    """Return the number of epochs until the training error first reached 25 %, or None.

    The error of an epoch is the mean over its updates. It counts as the error in the middle of the
    epoch; between two middles the error is interpolated linearly.
    """
    before, error_before = 0.0, _CHANCE_ERROR
    for row in history:
        middle, error = row.epoch - 0.5, 1 - row.train_top1
        if error <= TRAIN_ERROR:
            fall = error_before - error
            return before + (middle - before) * (error_before - TRAIN_ERROR) / fall
        before, error_before = middle, error
    return None


def read_metrics(metrics_csv: Path) -> tuple[EpochRow, ...]:
    """Return the epochs that a training has logged so far, which may not be saved yet."""
    try:
        with metrics_csv.open(encoding="utf-8", newline="") as file:
            return tuple(
                EpochRow(int(row.pop("epoch")), **{name: float(row[name]) for name in row})
                for row in csv.DictReader(file)
            )
    except (OSError, ValueError, TypeError, KeyError):  # missing, or being written
        return ()


def _log_row(row: EpochRow) -> LogRow:
    return (row.epoch, row.learning_rate, round(row.train_loss, 5), round(row.train_top1, 5),
            round(row.val_loss, 5), round(row.val_top1, 5), round(row.train_seconds, 1),
            round(row.val_seconds, 1))  # fmt: skip


def _remove_unsaved(folder: RunFolder) -> None:
    """Delete a run without a checkpoint, unless another process is training it."""
    if not folder.path.exists():
        return
    busy = TrainingError(f"another process is training {folder.path}", hint=_WAIT, code=_BUSY)
    with lock_folder(folder.path, busy=busy):
        shutil.rmtree(folder.path)


def _unusable(folder: RunFolder, reason: str, *, code: str) -> TrainingError:
    path = shlex.quote(str(folder.path))
    return TrainingError(
        f"the run {folder.path} cannot be resumed: {reason}",
        hint=f"move it away to train it again: mv {path} {path}-old",
        code=code,
    )


def _error_in(stderr: str) -> dict[str, str]:
    """Return the error that a command printed as JSON, possibly among warnings."""
    for line in reversed(stderr.splitlines()):
        try:
            document: Any = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict) and isinstance(document.get("error"), dict):
            return {key: value for key, value in document["error"].items() if value is not None}
    return {}


def _read_provenance(run: RunFolder, *, runs_at_once: int) -> RunProvenance:
    """Return the provenance of a finished run from its folder.

    Raises:
        TrainingError: The record in the folder is damaged.
    """
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    new = {"date": date, "runs_at_once": runs_at_once, "ended_with": "", "began_on": ""}
    try:
        began = RunProvenance(**{**json.loads(run.environment.read_bytes()), **new})
    except (OSError, ValueError, TypeError) as error:
        path = shlex.quote(str(run.path))
        raise TrainingError(
            f"{run.environment} is damaged: the provenance of the run is lost",
            hint=f"move the run away to train it again: mv {path} {path}-old",
            code="environment_damaged",
        ) from error
    try:
        ended = newest_checkpoint(run.checkpoints).environment
    except CheckpointError:  # it diverged before the first checkpoint
        ended = {}
    now, device = commit(), ended.get("device", began.device)
    return began.model_copy(
        update={
            **{name: ended[name] for name in ("images", "lrn", "precision") if name in ended},
            "ended_with": now if now != began.commit else "",
            "device": device,
            "began_on": began.device if began.device != device else "",
            "versions": {
                name: _both_versions(version, ended.get(name))
                for name, version in began.versions.items()
            },
        }
    )


def _both_versions(began_with: str, ended_with: str | None) -> str:
    """Return a version, or both if the run was resumed with another.

    Only the end records the build, as in `2.14.1+cu130`.
    """
    is_one = ended_with is None or ended_with.partition("+")[0] == began_with.partition("+")[0]
    return began_with if is_one else f"{began_with}, then {ended_with}"
