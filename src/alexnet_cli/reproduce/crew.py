"""Several runs at once, each in processes of its own: `alexnet train`, then `alexnet evaluate`.

Measured (`benchmarks/many_seeds.py`): on a CPU, one process a core trains more small networks an
hour than one process on all cores, and than stacked models (`torch.func.vmap`) do.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from alexnet_cli.devices import num_cores
from alexnet_cli.errors import Interrupted, TrainingError
from alexnet_cli.reproduce.measurement import epochs_to_train_error, read_history
from alexnet_cli.reproduce.plan import PlannedRun
from alexnet_cli.reproduce.provenance import provenance_of
from alexnet_cli.reproduce.result import FinishedRun, LogRow, TestResult
from alexnet_cli.runs import RunFolder
from alexnet_cli.training.checkpoint import EpochRow
from alexnet_cli.training.signals import StopRequest

_LOOK_SECONDS = 0.5
_DIVERGED = "not_finite"

IsEnough = Callable[[PlannedRun, Sequence[EpochRow]], bool]
"""Whether a run, with the epochs it has, need not go on."""


@dataclass(frozen=True)
class Place:
    """Where and with what runs are carried out.

    Attributes:
        runs: Parent of the run folders.
        jobs: Runs at once.
        device: As on the command line.
    """

    runs: Path
    jobs: int
    device: str = "auto"

    @property
    def num_threads(self) -> int:
        """Threads of each run."""
        return max(1, num_cores() // self.jobs)


class Crew:
    """Carries out runs, several at once; what was begun goes on where it stopped.

    Args:
        place: Where.
        told: Told a line for each run that begins and ends.
    """

    def __init__(self, place: Place, told: Callable[[str], None]) -> None:
        self._place, self._told = place, told
        self._stop = threading.Event()

    def carry_out(
        self,
        runs: Sequence[PlannedRun],
        *,
        is_enough: IsEnough,
        keep: Callable[[FinishedRun], None],
    ) -> None:
        """Carry out runs in their order.

        Args:
            runs: The runs.
            is_enough: Asked after each epoch.
            keep: Called with each run that has ended, in this thread.

        Raises:
            Interrupted: A signal came; every run has saved.
            TrainingError: A run failed; the others have saved.
        """
        with StopRequest() as stop, ThreadPoolExecutor(self._place.jobs) as pool:
            waiting = list(runs)
            active: set[Future[FinishedRun]] = set()
            try:
                while waiting or active:
                    while waiting and len(active) < self._place.jobs:
                        active.add(pool.submit(self._carry_out, waiting.pop(0), is_enough))
                    done, active = wait(active, _LOOK_SECONDS, FIRST_COMPLETED)
                    if stop.signal_number is not None:
                        self._interrupt(stop.signal_number, done | active, keep)
                    for future in done:
                        keep(future.result())
            except BaseException:
                self._stop.set()  # the pool waits for its threads
                raise

    def _interrupt(
        self,
        signal_number: int,
        futures: set[Future[FinishedRun]],
        keep: Callable[[FinishedRun], None],
    ) -> NoReturn:
        """Let the runs save, and keep those that had ended."""
        self._stop.set()
        for future in wait(futures).done:
            if future.exception() is None:
                keep(future.result())
        raise Interrupted(
            f"stopped by signal {signal_number}; the runs have saved",
            signal_number=signal_number,
            hint="go on with the same command",
        )

    def _carry_out(self, run: PlannedRun, is_enough: IsEnough) -> FinishedRun:
        folder = RunFolder(self._place.runs / run.name)
        if not self._is_over(run, folder, is_enough):
            self._told(f"{run.arm}, seed {run.seed}, rate {run.config.learning_rate:g}: begins")
            self._train(run, folder, is_enough)
        tests = tuple(
            self._test(folder, views) for views in sorted({m.num_views for m in run.measures} - {0})
        )
        return self._finished(run, folder, tests)

    def _is_over(self, run: PlannedRun, folder: RunFolder, is_enough: IsEnough) -> bool:
        history = read_history(folder.metrics_csv)
        return bool(history) and (history[-1].epoch >= run.config.epochs or is_enough(run, history))

    def _train(self, run: PlannedRun, folder: RunFolder, is_enough: IsEnough) -> None:
        """Train to the end, or until it is enough."""
        if folder.has_checkpoint():
            begin = ["--resume", str(folder.path), "--allow-drift"]  # the provenance says so
        else:
            if folder.path.exists():
                shutil.rmtree(folder.path)  # nothing was saved in it
            begin = [*run.flags, "--name", run.name, "--output", str(self._place.runs)]
        process = self._start("train", "--no-plots", "--device", self._place.device, *begin)
        ended = False
        while not ended:
            try:
                _, stderr = process.communicate(timeout=_LOOK_SECONDS)
                ended = True
            except subprocess.TimeoutExpired:
                if self._stop.is_set() or self._is_over(run, folder, is_enough):
                    process.send_signal(signal.SIGTERM)  # it saves
        if process.returncode and not self._is_over(run, folder, is_enough):
            self._fail(run, folder, process.returncode, stderr)

    def _fail(self, run: PlannedRun, folder: RunFolder, status: int, stderr: str) -> None:
        """Raise what a training ended with, unless it is that its rate was too high."""
        last = stderr.strip().splitlines()[-1:] or ["{}"]
        try:
            error = json.loads(last[0]).get("error", {})
        except ValueError:
            error = {}
        if error.get("code") == _DIVERGED:
            return
        if self._stop.is_set():
            raise TrainingError(f"{run.name} was stopped", code="stopped")
        message = error.get("message", f"it ended with status {status}: {last[0]}")
        raise TrainingError(
            f"the run {folder.path} failed: {message}",
            hint=error.get("hint") or f"try it alone: {run.command}",
            code="run_failed",
        )

    def _test(self, folder: RunFolder, num_views: int) -> TestResult:
        """Measure the best epoch on the test set."""
        process = self._start("evaluate", str(folder.path), "--split", "test", "--views",
                              str(num_views), "--device", self._place.device)  # fmt: skip
        stdout, stderr = process.communicate()
        if process.returncode:
            raise TrainingError(
                f"the run {folder.path} could not be measured: {stderr.strip()}",
                hint=f"try it alone: alexnet evaluate {folder.path} --views {num_views}",
                code="run_failed",
            )
        found = json.loads(stdout)
        low, high = found["top1_interval"]
        return TestResult(
            num_views=num_views, top1=found["top1"], top1_interval=(low, high),
            num_images=found["num_images"],
        )  # fmt: skip

    def _start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(  # noqa: S603 - this program itself
            [sys.executable, "-m", "alexnet_cli", *arguments, "--json", "--quiet"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(self._place.num_threads)},
        )

    def _finished(
        self, run: PlannedRun, folder: RunFolder, tests: tuple[TestResult, ...]
    ) -> FinishedRun:
        history = read_history(folder.metrics_csv)
        seconds = sum(row.train_seconds + row.val_seconds for row in history)
        reached = epochs_to_train_error(history)
        result = FinishedRun(
            arm=run.arm,
            seed=run.seed,
            key=run.key,
            command=run.command,
            learning_rate=run.config.learning_rate,
            epochs=len(history),
            seconds=round(seconds, 1),
            epochs_to_train_error=reached,
            tests=tests,
            provenance=provenance_of(folder, runs_at_once=self._place.jobs),
            log=tuple(_log_row(row) for row in history),
        )
        self._told(f"{run.arm}, seed {run.seed}, rate {run.config.learning_rate:g}: "
                   f"{_words(result)}")  # fmt: skip
        return result


def _log_row(row: EpochRow) -> LogRow:
    return (row.epoch, row.learning_rate, round(row.train_loss, 5), round(row.train_top1, 5),
            round(row.val_loss, 5), round(row.val_top1, 5), round(row.train_seconds, 1),
            round(row.val_seconds, 1))  # fmt: skip


def _words(result: FinishedRun) -> str:
    """Say what a run came to."""
    parts: list[Any] = [f"{result.epochs} epochs in {result.seconds:,.0f} s"]
    if result.tests:
        parts += [f"test error {1 - t.top1:.2%} ({t.num_views} views)" for t in result.tests]
    elif result.epochs_to_train_error is not None:
        parts.append(f"25 % training error after {result.epochs_to_train_error:.2f} epochs")
    else:
        parts.append("25 % training error not reached")
    return ", ".join(parts)
