"""Saving: what goes into a checkpoint, when it is written, which are kept, and which is read."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from alexnet_cli.errors import CheckpointError
from alexnet_cli.runs import SAVE_MINUTES, RunFolder
from alexnet_cli.training.checkpoint import (
    MODEL_FILE,
    OPTIMIZER_FILE,
    STATE_FILE,
    Checkpoint,
    Snapshot,
    read_checkpoint,
    remove_checkpoint,
    write_checkpoint,
)
from alexnet_cli.training.optimizer import load_momentum, momentum_buffers

_MOMENTUM, _TRAINED = "momentum.", "trained."  # prefixes in `optimizer.safetensors`


def optimizer_tensors(
    network: nn.Module, optimizer: torch.optim.SGD, *, has_ema: bool
) -> dict[str, Tensor]:
    """Return what an update needs besides the weights in `model.safetensors`.

    Args:
        network: The network that is trained.
        optimizer: Its optimizer.
        has_ema: Whether `model.safetensors` holds the averaged weights; the trained ones are then
            returned too.
    """
    tensors = {
        f"{_MOMENTUM}{name}": value for name, value in momentum_buffers(optimizer, network).items()
    }
    if has_ema:
        tensors |= {f"{_TRAINED}{name}": value for name, value in network.state_dict().items()}
    return tensors


def load_checkpoint(
    checkpoint: Checkpoint,
    network: nn.Module,
    optimizer: torch.optim.SGD,
    ema: AveragedModel | None,
    *,
    learning_rate: float,
) -> None:
    """Load the tensors of a checkpoint.

    Args:
        checkpoint: Of the same network.
        network: The network that is trained.
        optimizer: Its optimizer.
        ema: The running average of its weights, if there is one.
        learning_rate: That of the last update.

    Raises:
        CheckpointError: Names or shapes differ.
    """
    model, others = checkpoint.read_tensors(MODEL_FILE), checkpoint.read_tensors(OPTIMIZER_FILE)
    trained = _without_prefix(others, _TRAINED)
    checkpoint.load_into(network, trained or model)
    if ema is not None and trained:
        checkpoint.load_into(ema.module, model)
        ema.n_averaged.fill_(1)  # any number but 0: the average has begun
    load_momentum(
        optimizer, network, _without_prefix(others, _MOMENTUM), learning_rate=learning_rate
    )


def _without_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def all_finite(network: nn.Module, optimizer: torch.optim.SGD) -> bool:
    """Return whether weights and momentum hold finite numbers only; waits for the device."""
    tensors = [*network.state_dict().values(), *momentum_buffers(optimizer, network).values()]
    return bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())


@dataclass(frozen=True)
class SaveInterval:
    """Time between checkpoints inside an epoch; at its end there is always one.

    Attributes:
        minutes: Minutes between two; 0: off.
        steps: Updates between two; 0: off.
    """

    minutes: float = SAVE_MINUTES
    steps: int = 0


class CheckpointTimer:
    """Decides when the next checkpoint inside an epoch is due."""

    def __init__(self, interval: SaveInterval) -> None:
        self._interval = interval
        self.restart(0)

    def restart(self, step: int) -> None:
        """Count from this step and from now."""
        self._step, self._begin = step, time.monotonic()

    def is_due(self, step: int) -> bool:
        """Return whether the interval has passed."""
        minutes, steps = self._interval.minutes, self._interval.steps
        by_time = minutes and time.monotonic() - self._begin >= 60 * minutes
        return bool(by_time or (steps and step - self._step >= steps))


class AsyncCheckpointer:
    """Writes checkpoints in a thread, one at a time. On exit, the last one is on the disk."""

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
        """Start to write a checkpoint, after the one before it.

        Raises:
            AlexnetError: The one before could not be written.
        """
        self.wait()
        self._pending = self._thread.submit(self._write, snapshot)

    def wait(self) -> None:
        """Wait until everything is on the disk.

        Raises:
            AlexnetError: It could not be written.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _write(self, snapshot: Snapshot) -> None:
        folder = write_checkpoint(self._checkpoints, snapshot)
        prune_checkpoints(folder, best_step=snapshot.state.best_step)


def prune_checkpoints(saved: Path, *, best_step: int) -> None:
    """Keep the checkpoint just saved, the valid one before it and the best; delete the others.

    Later steps than the saved one are damaged: a run was resumed from before them.

    Args:
        saved: The folder just saved; nothing is deleted before it was read back and verified.
        best_step: Step of the best checkpoint.
    """
    step = read_checkpoint(saved).state.step
    steps = saved_steps(saved.parent)
    earlier = (each for each in steps if each < step)
    keep = {step, best_step, next((each for each in earlier if _is_valid(saved, each)), step)}
    for other in steps:
        if other not in keep:
            remove_checkpoint(saved.parent / f"step-{other}")


def _is_valid(saved: Path, step: int) -> bool:
    try:
        read_checkpoint(saved.parent / f"step-{step}")
    except CheckpointError:
        return False
    return True


def saved_steps(checkpoints: Path) -> list[int]:
    """Return the steps of a run's checkpoints, valid or not, the newest first."""
    names = (path.name.removeprefix("step-") for path in checkpoints.glob("step-*"))
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def newest_checkpoint(
    checkpoints: Path, *, warn: Callable[[str], None] = lambda _: None
) -> Checkpoint:
    """Return the newest valid checkpoint.

    Args:
        checkpoints: A run's `checkpoints` folder.
        warn: Called with a message for each newer one that is damaged.

    Raises:
        CheckpointError: There is none; the message names the damage of the newest.
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


def best_checkpoint(
    checkpoints: Path, *, warn: Callable[[str], None] = lambda _: None
) -> Checkpoint:
    """Return the checkpoint with the best validation top-1, as the newest one records it.

    Before the end of the first epoch, and where the best is missing or damaged, that is the
    newest.

    Args:
        checkpoints: A run's `checkpoints` folder.
        warn: Called with a message for each damaged checkpoint.

    Raises:
        CheckpointError: There is no usable checkpoint.
    """
    newest = newest_checkpoint(checkpoints, warn=warn)
    if newest.state.best_step in (0, newest.state.step):
        return newest
    try:
        return read_checkpoint(checkpoints / f"step-{newest.state.best_step}")
    except CheckpointError as error:
        warn(f"{error.message}; using the newest checkpoint, {newest.folder}")
        return newest


def chosen_checkpoint(path: Path, *, warn: Callable[[str], None] = lambda _: None) -> Checkpoint:
    """Return the checkpoint in a `step-N` folder, or the best one of a run folder.

    Args:
        path: The folder.
        warn: Called with a message for each damaged checkpoint.

    Raises:
        CheckpointError: There is no usable checkpoint.
    """
    if (path / STATE_FILE).is_file():
        return read_checkpoint(path)
    return best_checkpoint(RunFolder(path).checkpoints, warn=warn)
