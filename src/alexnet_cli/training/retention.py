"""Which checkpoints of a run are kept, and which of them is taken."""

from collections.abc import Callable
from pathlib import Path

from alexnet_cli.errors import CheckpointError
from alexnet_cli.runs import RunFolder
from alexnet_cli.training.checkpoint import (
    STATE_FILE,
    Checkpoint,
    read_checkpoint,
    remove_checkpoint,
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
