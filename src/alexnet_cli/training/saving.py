"""When checkpoints are written, and by whom: a thread, while training goes on."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from alexnet_cli.runs import SAVE_MINUTES
from alexnet_cli.training.checkpoint import Snapshot, write_checkpoint
from alexnet_cli.training.retention import prune_checkpoints


@dataclass(frozen=True)
class SaveInterval:
    """How often a checkpoint is written inside an epoch; at its end there always is one.

    Attributes:
        minutes: After so many minutes; 0: never by time.
        steps: After so many updates; 0: never by their number.
    """

    minutes: float = SAVE_MINUTES
    steps: int = 0


class SaveClock:
    """Tells when the next checkpoint is due.

    Args:
        interval: How often.
    """

    def __init__(self, interval: SaveInterval) -> None:
        self._interval = interval
        self.restart(0)

    def restart(self, step: int) -> None:
        """Count from now."""
        self._step, self._begin = step, time.monotonic()

    def is_due(self, step: int) -> bool:
        """Tell whether the interval has passed."""
        minutes, steps = self._interval.minutes, self._interval.steps
        by_time = minutes and time.monotonic() - self._begin >= 60 * minutes
        return bool(by_time or (steps and step - self._step >= steps))


class Saver:
    """Writes checkpoints in a thread, one at a time; left, the last one is on the disk.

    Args:
        checkpoints: The run's folder for them.
    """

    def __init__(self, checkpoints: Path) -> None:
        self._checkpoints = checkpoints
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown()
        if exc_type is None:
            self.wait()

    def save(self, snapshot: Snapshot) -> None:
        """Begin to write a checkpoint, after the one before it.

        Raises:
            AlexnetError: The one before could not be written.
        """
        self.wait()
        self._pending = self._thread.submit(self._write, snapshot)

    def wait(self) -> None:
        """Return when all is on the disk.

        Raises:
            AlexnetError: It could not be written.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _write(self, snapshot: Snapshot) -> None:
        folder = write_checkpoint(self._checkpoints, snapshot)
        prune_checkpoints(folder, best_step=snapshot.state.best_step)
