"""Which checkpoints of a run are kept, and which of them is taken.

When checkpoints are written, and by whom: a thread, while training goes on.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from alexnet_cli.errors import CheckpointError
from alexnet_cli.runs import SAVE_MINUTES, RunFolder
from alexnet_cli.training.checkpoint import (
    STATE_FILE,
    Checkpoint,
    Snapshot,
    read_checkpoint,
    remove_checkpoint,
    write_checkpoint,
)


def prune_checkpoints(saved: Path, *, best_step: int) -> None:
    """Keep the checkpoint just saved, the whole one before it and the best; delete the others.

    Later steps than the saved one are damaged leftovers that a resumed run was started behind.

    Args:
        saved: The folder just saved; nothing is deleted before it was read back whole.
        best_step: Step of the best checkpoint.
    """
    step = read_checkpoint(saved).state.step
    steps = saved_steps(saved.parent)
    earlier = (each for each in steps if each < step)
    keep = {step, best_step, next((each for each in earlier if _is_whole(saved, each)), step)}
    for other in steps:
        if other not in keep:
            remove_checkpoint(saved.parent / f"step-{other}")


def _is_whole(saved: Path, step: int) -> bool:
    try:
        read_checkpoint(saved.parent / f"step-{step}")
    except CheckpointError:
        return False
    return True


def saved_steps(checkpoints: Path) -> list[int]:
    """Return the steps of a run's checkpoints, whole or not, the newest first."""
    names = (path.name.removeprefix("step-") for path in checkpoints.glob("step-*"))
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def newest_checkpoint(
    checkpoints: Path, *, warn: Callable[[str], None] = lambda _: None
) -> Checkpoint:
    """Return the newest checkpoint that is whole.

    Args:
        checkpoints: A run's `checkpoints` folder.
        warn: Called with a message for each newer one that is not.

    Raises:
        CheckpointError: There is none; the message says what is wrong with the newest.
    """
    reasons = []
    for step in saved_steps(checkpoints):
        try:
            return read_checkpoint(checkpoints / f"step-{step}")
        except CheckpointError as error:
            warn(error.message)
            reasons.append(error.message)
    cause = f": {reasons[0]}" if reasons else ""
    raise CheckpointError(
        f"no usable checkpoint in {checkpoints}{cause}",
        hint="train one with: alexnet train",
        code="checkpoint_missing",
    )


def chosen_checkpoint(path: Path, *, warn: Callable[[str], None] = lambda _: None) -> Checkpoint:
    """Return the checkpoint that a path names, or of a run folder the best.

    Args:
        path: A `step-N` folder, or a run folder.
        warn: As in `best_checkpoint`.

    Raises:
        CheckpointError: There is no usable checkpoint.
    """
    if (path / STATE_FILE).is_file():
        return read_checkpoint(path)
    return best_checkpoint(RunFolder(path).checkpoints, warn=warn)


def best_checkpoint(
    checkpoints: Path, *, warn: Callable[[str], None] = lambda _: None
) -> Checkpoint:
    """Return the checkpoint with the best validation top-1, as the newest one records it.

    Before the end of the first epoch, and where the best is missing or damaged, that is the
    newest itself.

    Args:
        checkpoints: A run's `checkpoints` folder.
        warn: Called with a message when a checkpoint had to be passed over.

    Raises:
        CheckpointError: There is no usable checkpoint.
    """
    newest = newest_checkpoint(checkpoints, warn=warn)
    if newest.state.best_step in (0, newest.state.step):
        return newest
    try:
        return read_checkpoint(checkpoints / f"step-{newest.state.best_step}")
    except CheckpointError as error:
        warn(f"{error.message}; taking the newest checkpoint, {newest.folder}")
        return newest


@dataclass(frozen=True)
class SaveInterval:
    """How often a checkpoint is written inside an epoch; at its end there always is one.

    Attributes:
        minutes: After so many minutes; 0: never by time.
        steps: After so many updates; 0: never by their number.
    """

    minutes: float = SAVE_MINUTES
    steps: int = 0


class CheckpointTimer:
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


class AsyncCheckpointer:
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
