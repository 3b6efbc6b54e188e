"""The checkpoint format: two safetensors files and a `state.json` that commits them.

A folder `step-N/` holds `model.safetensors`, `optimizer.safetensors` and, written last,
`state.json` with the SHA-256 of both. A folder without a valid `state.json` does not count. No
pickle anywhere.
"""

import dataclasses
import hashlib
import json
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from alexnet_cli.errors import AlexnetError, CheckpointError, ModelFileError
from alexnet_cli.files import atomic_write, remove_partial_writes, sha256_of
from alexnet_cli.manifest import Manifest, manifest_from_json

SCHEMA_VERSION = 3
MODEL_FILE, OPTIMIZER_FILE, STATE_FILE = "model.safetensors", "optimizer.safetensors", "state.json"

ColourAxes = tuple[tuple[float, ...], ...]


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
    """The progress of a run; with the tensors and the configuration, all that resuming needs.

    Attributes:
        step: Updates made.
        epoch: Epochs completed.
        batch: Batches of the current epoch already used.
        loss_sum: Sum of the losses of the images of those batches.
        num_right: Images of those batches classified right.
        train_seconds: Time spent on those batches.
        best_step: Step of the checkpoint with the best validation top-1; 0 before the first.
        history: The completed epochs.
        wait_seconds: Time in `train_seconds` spent waiting for data.
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
class Snapshot:
    """A checkpoint before it is written: a copy, so that training can continue.

    Attributes:
        state: Progress of the run.
        config: The run's settings, as plain data.
        environment: What bit-identity depends on besides the settings.
        manifest: Description of the model.
        colour_axes: Directions of the colour noise, scaled by its standard deviation.
        model: Content of `model.safetensors`: what is evaluated and exported.
        optimizer: Content of `optimizer.safetensors`: what else an update needs.
    """

    state: TrainState
    config: dict[str, Any]
    environment: dict[str, str]
    manifest: Manifest
    colour_axes: ColourAxes
    model: bytes
    optimizer: bytes


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint whose hashes were verified."""

    folder: Path
    state: TrainState
    config: dict[str, Any]
    environment: dict[str, str]
    manifest: Manifest
    colour_axes: ColourAxes

    def load_model(self, network: nn.Module) -> None:
        """Copy the weights into a network of the same layout.

        Raises:
            CheckpointError: Names or shapes differ.
        """
        self.load_into(network, self.read_tensors(MODEL_FILE))

    def load_into(self, network: nn.Module, tensors: dict[str, Tensor]) -> None:
        """Copy tensors of this checkpoint into a network of the same layout.

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

    def read_tensors(self, name: str) -> dict[str, Tensor]:
        """Read one of the two tensor files.

        Raises:
            CheckpointError: Not a safetensors file.
        """
        try:
            return safetensors.torch.load((self.folder / name).read_bytes())
        except (SafetensorError, OSError) as error:
            raise _damaged(self.folder / name, str(error)) from error


def to_safetensors(tensors: dict[str, Tensor]) -> bytes:
    """Return the content of a safetensors file; the tensors may be on any device."""
    return safetensors.torch.save({k: t.cpu().contiguous() for k, t in tensors.items()})


def write_checkpoint(checkpoints: Path, snapshot: Snapshot) -> Path:
    """Write `checkpoints/step-N` and return it.

    If the step was saved before, as when validation was interrupted, the weights are the same, and
    that checkpoint stays valid until the new `state.json` replaces its own.

    Raises:
        AlexnetError: The disk is full or the folder cannot be written to; nothing stray is left.
    """
    folder = checkpoints / f"step-{snapshot.state.step}"
    contents = {MODEL_FILE: snapshot.model, OPTIMIZER_FILE: snapshot.optimizer}
    document = {
        "schema": SCHEMA_VERSION,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
        "state": dataclasses.asdict(snapshot.state),
        "config": snapshot.config,
        "environment": snapshot.environment,
        "colour_axes": snapshot.colour_axes,
        "manifest": json.loads(snapshot.manifest.to_json()),
    }
    document["checksum"] = _checksum(document)
    contents[STATE_FILE] = _to_json(document)
    try:
        for name, data in contents.items():
            remove_partial_writes(folder / name)
            atomic_write(folder / name, data)
    except AlexnetError:
        if not (folder / STATE_FILE).exists():
            remove_checkpoint(folder)
        raise
    return folder


def remove_checkpoint(folder: Path) -> None:
    """Delete a checkpoint; without `state.json`, what a crash leaves of it does not count."""
    if folder.is_dir():
        (folder / STATE_FILE).unlink(missing_ok=True)
        shutil.rmtree(folder)


def _to_json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode()


def _checksum(document: dict[str, Any]) -> str:
    """Return the hash of a `state.json` without its checksum."""
    rest = {key: value for key, value in document.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


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
        document = _verified(path.read_bytes())
        raw = document["state"]
        history = tuple(EpochRow(**row) for row in raw["history"])
        raw.pop("micro_batch_size", None)  # of earlier versions, which halved it to save memory
        state = TrainState(**{**raw, "history": history})
        config, environment = dict(document["config"]), dict(document["environment"])
        axes = tuple(tuple(axis) for axis in document["colour_axes"])
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
