"""Checkpoints that are whole or not there: safetensors files and a `state.json` that commits them.

A folder `step-N/` holds `model.safetensors`, `optimizer.safetensors` and, written last,
`state.json` with the SHA-256 of both. A folder without a valid `state.json` does not count. No
pickle anywhere.
"""

import dataclasses
import hashlib
import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from alexnet_cli.errors import CheckpointError, ModelFileError
from alexnet_cli.files import atomic_write, sha256_of
from alexnet_cli.manifest import Manifest, manifest_from_json

SCHEMA_VERSION = 2
MODEL_FILE, OPTIMIZER_FILE, STATE_FILE = "model.safetensors", "optimizer.safetensors", "state.json"


@dataclass(frozen=True)
class EpochRow:
    """What one epoch showed: a row of `metrics.csv`. Accuracies are shares 0–1, losses nats."""

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
    """Where a run is; with the tensors and the configuration, all that is needed to go on.

    Attributes:
        step: Updates made.
        epoch: Epochs completed.
        batch: Batches of the current epoch already used.
        loss_sum: Sum of the losses of the images of those batches.
        num_right: Images of those batches classified right.
        train_seconds: Time spent on those batches.
        best_step: Step of the checkpoint with the best validation top-1; 0 before the first.
        history: The completed epochs.
        wait_seconds: Part of `train_seconds` in which the next batch was waited for.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    num_right: int = 0
    train_seconds: float = 0.0
    best_step: int = 0
    history: tuple[EpochRow, ...] = ()
    wait_seconds: float = 0.0


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint, its `state.json` read and its files' hashes verified."""

    folder: Path
    state: TrainState
    config: dict[str, Any]
    environment: dict[str, str]
    manifest: Manifest

    def load_model(self, network: nn.Module) -> None:
        """Copy the weights into a network of the same layout.

        Raises:
            CheckpointError: Names or shapes differ.
        """
        tensors = self.read_tensors(MODEL_FILE)
        try:
            network.load_state_dict(tensors, strict=True)
        except RuntimeError as error:
            raise CheckpointError(
                f"checkpoint {self.folder} does not fit its network ({error})",
                hint="train again with: alexnet train",
                code="checkpoint_mismatch",
            ) from error

    def read_tensors(self, name: str) -> dict[str, Tensor]:
        """Read one of the two tensor files.

        Raises:
            CheckpointError: Not a safetensors file.
        """
        try:
            return safetensors.torch.load((self.folder / name).read_bytes())
        except (SafetensorError, OSError) as error:
            raise _damaged(self.folder / name, str(error)) from error


def save_checkpoint(  # noqa: PLR0913 - the parts of a checkpoint, each named at the call
    checkpoints: Path,
    *,
    state: TrainState,
    config: dict[str, Any],
    manifest: Manifest,
    environment: dict[str, str],
    model: dict[str, Tensor],
    optimizer: dict[str, Tensor],
) -> Path:
    """Write `checkpoints/step-N` and return it."""
    folder = checkpoints / f"step-{state.step}"
    hashes = {}
    for name, tensors in ((MODEL_FILE, model), (OPTIMIZER_FILE, optimizer)):
        content = safetensors.torch.save({k: t.cpu().contiguous() for k, t in tensors.items()})
        atomic_write(folder / name, content)
        hashes[name] = hashlib.sha256(content).hexdigest()
    document = {
        "schema": SCHEMA_VERSION,
        "sha256": hashes,
        "state": dataclasses.asdict(state),
        "config": config,
        "environment": environment,
        "manifest": json.loads(manifest.to_json()),
    }
    document["checksum"] = _checksum(document)
    atomic_write(folder / STATE_FILE, json.dumps(document, indent=1).encode())
    return folder


def _checksum(document: dict[str, Any]) -> str:
    """Hash everything in a `state.json` but the checksum itself."""
    rest = {key: value for key, value in document.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def prune_checkpoints(saved: Path, *, best_step: int) -> None:
    """Keep the checkpoint just saved, the one before it and the best; delete the others.

    Later steps than the saved one are damaged leftovers that a resumed run was started behind.

    Args:
        saved: The folder just saved; nothing is deleted before it was read back whole.
        best_step: Step of the best checkpoint.
    """
    step = read_checkpoint(saved).state.step
    steps = _steps(saved.parent)
    keep = {step, best_step, *[earlier for earlier in steps if earlier < step][:1]}
    for other in steps:
        if other not in keep:
            folder = saved.parent / f"step-{other}"
            (folder / STATE_FILE).unlink(missing_ok=True)  # first: half a folder never counts
            shutil.rmtree(folder)


def _steps(checkpoints: Path) -> list[int]:
    names = (path.name.removeprefix("step-") for path in checkpoints.glob("step-*"))
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint and verify its files.

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
        document = json.loads(path.read_bytes())
        _require_sound(document)
        raw = document["state"]
        history = tuple(EpochRow(**row) for row in raw["history"])
        state = TrainState(**{**raw, "history": history})
        config, environment = dict(document["config"]), dict(document["environment"])
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
    return Checkpoint(folder, state, config, environment, manifest)


def _require_sound(document: dict[str, Any]) -> None:
    if document["schema"] != SCHEMA_VERSION:
        raise ValueError(f"schema {document['schema']!r}, this version reads {SCHEMA_VERSION}")
    if document["checksum"] != _checksum(document):
        raise ValueError("its checksum differs")


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"checkpoint file {path} is damaged ({reason})",
        hint="go on from an older one with: alexnet train --resume "
        f"{shlex.quote(str(path.absolute().parents[2]))}",
    )


def newest_checkpoint(
    checkpoints: Path, *, warn: Callable[[str], None] = lambda _: None
) -> Checkpoint:
    """Return the newest checkpoint that is whole.

    Args:
        checkpoints: A run's `checkpoints` folder.
        warn: Called with a message for each newer one that is not.

    Raises:
        CheckpointError: There is none.
    """
    for step in _steps(checkpoints):
        try:
            return read_checkpoint(checkpoints / f"step-{step}")
        except CheckpointError as error:
            warn(error.message)
    raise CheckpointError(
        f"no usable checkpoint in {checkpoints}",
        hint="train one with: alexnet train",
        code="checkpoint_missing",
    )


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
