"""What a run folder says of its training."""

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_cli.errors import CheckpointError, UsageError
from alexnet_cli.manifest import Manifest
from alexnet_cli.runs import RunFolder
from alexnet_cli.training.checkpoint import STATE_FILE, Checkpoint, EpochRow
from alexnet_cli.training.retention import best_checkpoint, newest_checkpoint


@dataclass(frozen=True)
class RunRecord:
    """A run as its newest checkpoint and its `environment.json` record it.

    Attributes:
        run: The run folder.
        best: The checkpoint with the best validation top-1.
        history: The completed epochs, at least one.
        environment: Command, versions and hardware; empty where the file is not there.
    """

    run: RunFolder
    best: Checkpoint
    history: tuple[EpochRow, ...]
    environment: dict[str, Any]

    @property
    def name(self) -> str:
        """What to call the run."""
        return self.run.path.absolute().name

    @property
    def manifest(self) -> Manifest:
        """Of the best checkpoint."""
        return self.best.manifest

    @property
    def num_epochs_planned(self) -> int:
        """Epochs that it was to have, done or not."""
        return int(self.best.config["epochs"])

    @property
    def seconds(self) -> float:
        """Time in training and validation."""
        return sum(row.train_seconds + row.val_seconds for row in self.history)


def read_run(path: Path, *, warn: Callable[[str], None] = lambda _: None) -> RunRecord:
    """Read a run that has completed an epoch, whether it has ended or not.

    Args:
        path: The run folder.
        warn: Called with a message when a checkpoint had to be passed over.

    Raises:
        CheckpointError: It has no usable checkpoint, or a file of it is damaged.
        UsageError: It is no run folder.
    """
    run = RunFolder(path)
    if (path / STATE_FILE).is_file():
        folder = path.absolute().parents[1]
        raise UsageError(
            f"{path} is one checkpoint; a report is of a run",
            hint=f"alexnet report {shlex.quote(str(folder))}",
        )
    if not run.checkpoints.is_dir():
        what = "has no checkpoint yet" if run.config.is_file() else "is not a run folder"
        raise CheckpointError(
            f"{path} {what}",
            hint="name a folder in runs/, or train one with: alexnet train",
            code="checkpoint_missing",
        )
    history = newest_checkpoint(run.checkpoints).state.history
    if not history:
        raise CheckpointError(
            f"the run {path} has not completed an epoch yet",
            hint=f"go on with: alexnet train --resume {shlex.quote(str(path))}",
            code="no_epoch",
        )
    best = best_checkpoint(run.checkpoints, warn=warn)
    return RunRecord(run, best, history, _read_environment(run.environment))


def _read_environment(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return _checked(json.loads(path.read_bytes()))
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error})",
            hint=f"the report does without it: rm {shlex.quote(str(path))}",
            code="run_damaged",
        ) from error


def _checked(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise TypeError("it is not a JSON object")
    command = document.get("command", [])
    if not isinstance(command, list) or not all(isinstance(word, str) for word in command):
        raise TypeError("its command is not a list of words")
    return document
