"""Checkpoints: folders `step-N` of two safetensors files and a `state.json` that commits them.

`state.json` is written last, with the SHA-256 of both files; a folder without a valid one does not
count. No pickle anywhere. Which checkpoint is the newest valid one is known without PyTorch.
"""

import dataclasses
import hashlib
import json
import shlex
import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from alexnet_cli.errors import AlexnetError, CheckpointError, ModelFileError
from alexnet_cli.files import atomic_write, remove_partial_writes, sha256_of, writing_error
from alexnet_cli.manifest import Manifest, manifest_from_json, parse_strictly
from alexnet_cli.run_folder import RunFolder

if TYPE_CHECKING:
    from torch import Tensor, nn

SCHEMA_VERSION = 3
MODEL_FILE, OPTIMIZER_FILE, STATE_FILE = "model.safetensors", "optimizer.safetensors", "state.json"

ColourAxes = tuple[tuple[float, ...], ...]
Warn = Callable[[str], None]


@dataclass(frozen=True)
class EpochRow:
    """The metrics of one epoch: a row of `metrics.csv`. Accuracies are 0–1, losses in nats."""

    epoch: int
    learning_rate: float
    train_loss: float
    train_top1: float
    val_loss: float
    val_top1: float
    train_seconds: float
    val_seconds: float
    images_per_second: float
    data_wait_share: float = 0.0  # of train_seconds, spent waiting for the next batch


@dataclass(frozen=True)
class TrainState:
    """The progress of a run; with the tensors and the configuration, all that resuming needs."""

    step: int = 0  # updates made
    epoch: int = 0  # epochs completed
    batch: int = 0  # batches of the current epoch already used
    loss_sum: float = 0.0  # of the images of those batches
    num_right: int = 0  # images of those batches classified right
    train_seconds: float = 0.0  # spent on those batches
    best_step: int = 0  # of the checkpoint with the best validation top-1; 0 before the first
    history: tuple[EpochRow, ...] = ()  # of the completed epochs
    wait_seconds: float = 0.0  # of train_seconds, spent waiting for data


@dataclass(frozen=True)
class Checkpoint:
    """The content of a `state.json`, and the way to the tensors in the same folder."""

    folder: Path  # checkpoints/step-N
    state: TrainState
    config: dict[str, Any]  # the run's settings, as plain data
    environment: dict[str, str]  # what bit-identity depends on besides the settings
    manifest: Manifest
    colour_axes: ColourAxes  # directions of the colour noise, scaled by its standard deviation

    def load_model(self, network: "nn.Module") -> None:
        """Copy the weights into a network, as `load_into`."""
        self.load_into(network, self.read_tensors(MODEL_FILE))

    def load_into(self, network: "nn.Module", tensors: "dict[str, Tensor]") -> None:
        """Copy tensors of this checkpoint into a network.

        Raises:
            CheckpointError: Names or shapes differ.
        """
        try:
            network.load_state_dict(tensors, strict=True)
        except RuntimeError as error:
            raise CheckpointError(
                f"checkpoint {self.folder} does not fit its network ({error})",
                hint="train again with: alexnet train",
                code="checkpoint_mismatch",
            ) from error

    def read_tensors(self, name: str) -> "dict[str, Tensor]":
        """Read `MODEL_FILE` (what is evaluated and exported) or `OPTIMIZER_FILE` (the rest).

        Raises:
            CheckpointError: Not a safetensors file.
        """
        import safetensors.torch
        from safetensors import SafetensorError

        try:
            return safetensors.torch.load((self.folder / name).read_bytes())
        except (SafetensorError, OSError) as error:
            raise _damaged(self.folder / name, str(error)) from error


def to_safetensors(tensors: "dict[str, Tensor]") -> bytes:
    """Return the content of a safetensors file; the tensors may be on any device."""
    import safetensors.torch

    return safetensors.torch.save({k: t.cpu().contiguous() for k, t in tensors.items()})


def write_checkpoint(checkpoint: Checkpoint, *, model: bytes, optimizer: bytes) -> None:
    """Write the folder of a checkpoint with these tensor files.

    If the step was saved before, as when validation was interrupted, the weights are the same, and
    that checkpoint stays valid until the new `state.json` replaces its own.

    Raises:
        AlexnetError: The disk is full or the folder cannot be written to; nothing stray is left.
    """
    folder, contents = checkpoint.folder, {MODEL_FILE: model, OPTIMIZER_FILE: optimizer}
    document = {
        "schema": SCHEMA_VERSION,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
        "state": dataclasses.asdict(checkpoint.state),
        "config": checkpoint.config,
        "environment": checkpoint.environment,
        "colour_axes": checkpoint.colour_axes,
        "manifest": json.loads(checkpoint.manifest.to_json()),
    }
    document["checksum"] = _checksum(document)
    contents[STATE_FILE] = _to_json(document)
    try:
        for name, data in contents.items():
            remove_partial_writes(folder / name)
            atomic_write(folder / name, data)
    except AlexnetError:
        if not (folder / STATE_FILE).exists():
            _remove(folder)
        raise


def _remove(folder: Path) -> None:
    if folder.is_dir():
        (folder / STATE_FILE).unlink(missing_ok=True)  # first: what a crash leaves does not count
        shutil.rmtree(folder)


def _to_json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode()


def _checksum(document: dict[str, Any]) -> str:
    rest = {key: value for key, value in document.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint and verify the hashes of its files.

    Raises:
        CheckpointError: It is missing, incomplete or damaged.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        raise CheckpointError(
            f"{folder} is not a checkpoint (no {STATE_FILE})",
            hint="name a run folder or a checkpoints/step-N folder",
            code="checkpoint_missing",
        )
    try:
        document = _verified(path.read_bytes())
        state: TrainState = parse_strictly(TrainState, document["state"])
        _require_consistency(state)
        config = dict(document["config"])
        environment: dict[str, str] = parse_strictly(dict[str, str], document["environment"])
        axes: ColourAxes = parse_strictly(ColourAxes, document["colour_axes"])
        hashes = {name: str(document["sha256"][name]) for name in (MODEL_FILE, OPTIMIZER_FILE)}
        manifest = manifest_from_json(json.dumps(document["manifest"]), source=str(path))
    except (ValueError, KeyError, TypeError, RecursionError, ModelFileError) as error:
        reason = f"missing {error}" if isinstance(error, KeyError) else str(error)
        raise _damaged(path, reason) from error
    for name, expected in hashes.items():
        if not (folder / name).is_file():
            raise _damaged(folder / name, "missing")
        if sha256_of(folder / name) != expected:
            raise _damaged(folder / name, "sha256 differs")
    return Checkpoint(folder, state, config, environment, manifest, axes)


def _require_consistency(state: TrainState) -> None:
    counts = (state.step, state.batch, state.num_right, state.best_step)
    epochs = [row.epoch for row in state.history]
    for is_right, problem in (
        (min(counts) >= 0 and state.best_step <= state.step, "impossible counts"),
        (epochs == list(range(1, state.epoch + 1)), f"{state.epoch} epochs, rows of {epochs}"),
        (bool(state.step) == bool(state.batch or epochs), f"step {state.step} of no epoch"),
        (all(0 <= row.val_top1 <= 1 for row in state.history), "an accuracy outside 0–1"),
        (all(row.train_seconds > 0 for row in state.history), "an epoch of no time"),
    ):
        if not is_right:
            raise ValueError(problem)


def _verified(content: bytes) -> dict[str, Any]:
    document = json.loads(content)
    if document["schema"] != SCHEMA_VERSION:
        raise ValueError(f"schema {document['schema']!r}, this version reads {SCHEMA_VERSION}")
    if document["checksum"] != _checksum(document):
        raise ValueError("its checksum differs")
    if content != _to_json(document):  # as 1E-5 in place of 1e-5
        raise ValueError("it was changed")
    return dict(document)


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"checkpoint file {path} is damaged ({reason})",
        hint="resume from an older one: alexnet train --resume "
        f"{shlex.quote(str(path.absolute().parents[2]))}",
    )


def saved_steps(checkpoints: Path) -> list[int]:
    """Return the steps of a run's checkpoints, valid or not, the newest first."""
    names = (path.name.removeprefix("step-") for path in checkpoints.glob("step-*"))
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def newest_checkpoint(checkpoints: Path, *, warn: Warn = lambda _: None) -> Checkpoint:
    """Return the newest valid checkpoint; warn of each newer one that is damaged.

    Raises:
        CheckpointError: There is none; the message names the damage of the newest.
    """
    reasons = []
    for step in saved_steps(checkpoints):
        try:
            return _read_step(checkpoints, step)
        except CheckpointError as error:
            warn(error.message)
            reasons.append(error.message)
    cause = f": {reasons[0]}" if reasons else ""
    raise CheckpointError(
        f"no usable checkpoint in {checkpoints}{cause}",
        hint="train one with: alexnet train",
        code="checkpoint_missing",
    )


def _read_step(checkpoints: Path, step: int) -> Checkpoint:
    checkpoint = read_checkpoint(checkpoints / f"step-{step}")
    if checkpoint.state.step != step:
        raise _damaged(checkpoint.folder / STATE_FILE, f"it is of step {checkpoint.state.step}")
    return checkpoint


def best_checkpoint(checkpoints: Path, *, warn: Warn = lambda _: None) -> Checkpoint:
    """Return the checkpoint with the best validation top-1, as the newest one records it.

    Before the end of the first epoch, and where the best is missing or damaged, return the newest.

    Raises:
        CheckpointError: There is no usable checkpoint.
    """
    newest = newest_checkpoint(checkpoints, warn=warn)
    if newest.state.best_step in (0, newest.state.step):
        return newest
    try:
        return _read_step(checkpoints, newest.state.best_step)
    except CheckpointError as error:
        warn(f"{error.message}; using the newest checkpoint, {newest.folder}")
        return newest


def chosen_checkpoint(path: Path, *, warn: Warn = lambda _: None) -> Checkpoint:
    """Return the checkpoint in a `step-N` folder, or the best one of a run folder.

    Raises:
        CheckpointError: There is no usable checkpoint.
    """
    if (path / STATE_FILE).is_file():
        return read_checkpoint(path)
    return best_checkpoint(RunFolder(path).checkpoints, warn=warn)


def prune_checkpoints(saved: Path) -> None:
    """Keep the checkpoint just saved, the valid one before it and the best; delete the others.

    Nothing is deleted before the saved one was read back. Later steps than its own are damaged: the
    run was resumed from before them.
    """
    state, steps = read_checkpoint(saved).state, saved_steps(saved.parent)
    earlier = (step for step in steps if step < state.step and _is_valid(saved.parent, step))
    keep = {state.step, state.best_step, next(earlier, state.step)}
    for step in steps:
        if step not in keep:
            _remove(saved.parent / f"step-{step}")


def set_aside_later(run: RunFolder, step: int) -> list[Path]:
    """Move the valid checkpoints after a step to the run's `set-aside/`, and return their places.

    A run that goes on from this step would replace or delete them.
    """
    later = [each for each in saved_steps(run.checkpoints) if each > step]
    moved = []
    for each in later:
        if not _is_valid(run.checkpoints, each):
            continue
        name, number = f"step-{each}", 2
        while (run.set_aside / name).exists():
            name, number = f"step-{each}-{number}", number + 1
        try:
            run.set_aside.mkdir(exist_ok=True)
            (run.checkpoints / f"step-{each}").rename(run.set_aside / name)
        except OSError as error:
            raise writing_error(run.set_aside / name, error) from error
        moved.append(run.set_aside / name)
    return moved


def _is_valid(checkpoints: Path, step: int) -> bool:
    try:
        _read_step(checkpoints, step)
    except CheckpointError:
        return False
    return True


class AsyncCheckpointer:
    """A thread that writes checkpoints, one at a time. On exit, the last one is on the disk.

    Inside an epoch one is due after `minutes` or after `steps` updates; 0 = off.
    """

    def __init__(self, minutes: float, steps: int) -> None:
        self._minutes, self._steps = minutes, steps
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        self.restart_timer(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown()
        if exc_type is None:
            self.wait()

    def restart_timer(self, step: int) -> None:
        self._step, self._begin = step, time.monotonic()

    def is_due(self, step: int) -> bool:
        by_time = self._minutes and time.monotonic() - self._begin >= 60 * self._minutes
        return bool(by_time or (self._steps and step - self._step >= self._steps))

    def save(
        self,
        checkpoint: Checkpoint,
        *,
        model: bytes,
        optimizer: bytes,
        write_metrics: Callable[[], object] = lambda: None,
    ) -> None:
        """Start to write a checkpoint, then the metrics, or raise the error of the one before it.

        A metrics file is thus never ahead of the checkpoints.
        """

        def write() -> None:
            write_checkpoint(checkpoint, model=model, optimizer=optimizer)
            prune_checkpoints(checkpoint.folder)
            write_metrics()

        self.wait()
        self.restart_timer(checkpoint.state.step)
        self._pending = self._thread.submit(write)

    def wait(self) -> None:
        """Wait until everything is on the disk, or raise the error of the write."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()
