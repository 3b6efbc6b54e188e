"""Resuming a run: which one, from which checkpoint, and what may differ from its start.

`Trainer.resume` and `optimizer.load_tensors` put the checkpoint back into the training loop.
"""

import functools
import json
import math
import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from alexnet_cli.config.schema import Schedule, TrainConfig, flag_metadata, flag_of
from alexnet_cli.config.sources import read_config
from alexnet_cli.console import note
from alexnet_cli.data.datasets import Dataset
from alexnet_cli.data.run_images import (
    RunImages,
    draw_images,
    find_images_folder,
    read_record,
    restore_images,
)
from alexnet_cli.errors import CheckpointError, UsageError, join_some
from alexnet_cli.manifest import data_title
from alexnet_cli.run_folder import NEWEST, RunFolder, newest_run, suggest_run
from alexnet_cli.training.checkpoint import (
    STATE_FILE,
    Checkpoint,
    newest_checkpoint,
    read_checkpoint,
)
from alexnet_cli.training.device import resolve_precision
from alexnet_cli.training.ranks import ALONE, Ranks, StopRequest
from alexnet_cli.training.run_files import write_config
from alexnet_cli.training.setup import (
    TrainingRun,
    count_identical_images,
    refuse_split_batches,
    resize_images,
)


def find_run(resume: Path | None, ranks: Ranks, parent: Path) -> Path | None:
    """Return the run to resume: named, newest, or of restarted processes; None for a new run."""
    if resume is not None:
        return newest_run(parent).path if resume == NEWEST else resume
    restarted = find_restarted_run(ranks, parent)
    return restarted.path if restarted is not None and restarted.has_checkpoint() else None


def resume_run(
    path: Path,
    device: torch.device,
    *,
    requested: dict[str, Any],
    allow_drift: bool = False,
    ranks: Ranks = ALONE,
    num_workers: int = 0,
) -> tuple[TrainingRun, Checkpoint]:
    """Resume a run from its newest valid checkpoint, with its saved configuration.

    `path` is the run folder, or one of its checkpoints; `requested` are the settings that the user
    gave, by field. `allow_drift` accepts settings and hardware that differ from the run's. Rank 0
    warns of damaged checkpoints and of drift.

    Raises:
        CheckpointError: There is no usable checkpoint.
        UsageError: The run has other settings than those requested, or the result would differ.
    """
    warn = functools.partial(note, quiet=not ranks.is_first)
    folder, checkpoint = _find_checkpoint(path, warn=warn)
    saved = _saved_config(checkpoint)
    _refuse_edited_config(folder, saved, requested)
    # --data may name the new place of a folder: its images are compared below.
    moved = saved.model_copy(update={"data": requested.get("data", saved.data)})
    config = merge_resume_settings(moved, requested, allow_drift=allow_drift)
    manifest = checkpoint.manifest
    refuse_split_batches(config, manifest.network, num_ranks=ranks.world_size)
    dataset = find_images_folder(config.data, folder.resume_command)
    images = _restore_images(
        folder, checkpoint, config, dataset, allow_drift=allow_drift, warn=warn
    )
    train, val = resize_images(images, manifest.input.image_size_px, num_workers)
    origin = replace(
        manifest.provenance,
        data=data_title(dataset.name),
        config_sha256=config.sha256(),
        images=images.fingerprint,
    )
    run = TrainingRun(
        config,
        replace(manifest, provenance=origin),
        train,
        val,
        folder,
        device,
        resolve_precision(config.precision, device),
        colour_axes=checkpoint.colour_axes,
        ranks=ranks,
        num_workers=num_workers,
        stop=StopRequest(once=not ranks.is_alone),
        identical=count_identical_images(dataset, images),
    )
    before = {**checkpoint.environment, "images": images.fingerprint}  # they were compared above
    require_same_environment(before, run.environment, allow_drift=allow_drift, warn=warn)
    if ranks.is_first:
        images.record(read_record(folder)).write(folder)  # before added images are used
        if config != saved or not folder.config.is_file():
            write_config(folder, config)
    return run, checkpoint


def _restore_images(
    folder: RunFolder,
    checkpoint: Checkpoint,
    config: TrainConfig,
    dataset: Dataset,
    *,
    allow_drift: bool,
    warn: Callable[[str], None],
) -> RunImages:
    """Return the images of the run, wherever they are now and whatever they are called.

    With `allow_drift`, added images are trained on, and held-out ones stay held out.

    Raises:
        UsageError: They have changed.
    """
    if dataset.classes != checkpoint.manifest.classes:
        raise UsageError(
            f"{dataset.name} has other classes than the run {folder.path}: "
            f"{join_some(dataset.classes)}, not {join_some(checkpoint.manifest.classes)}",
            hint=f"name the images of the run: {folder.resume_command} --data FOLDER",
            code="classes_differ",
        )
    record, recorded = read_record(folder), checkpoint.environment.get("images", "")
    if record is None:
        images = draw_images(dataset, val_size=config.val_size, seed=config.seed)
    else:
        images = restore_images(dataset, record)
    if images.has_fingerprint(recorded):
        if record is None:
            warn(f"{folder.images} was missing; it is written again")
        return images
    change = f"{images.num_new:,} were added, {images.num_missing:,} are gone"
    if record is None:
        change = f"{recorded} at the start, {images.fingerprint} now"
    message = f"the images of {dataset.name} are not those of the run {folder.path}: {change}"
    can_drift = record is not None and len(images.train) and len(images.val)
    if allow_drift and can_drift:
        warn(f"{message}; added ones are trained on, those held out stay held out")
        return images
    raise UsageError(
        message,
        hint="put the folder back as it was, or "
        + (
            "train on what it has: --allow-drift"
            if can_drift
            else "start a new run without --resume"
        ),
        code="images_differ",
    )


def _find_checkpoint(path: Path, *, warn: Callable[[str], None]) -> tuple[RunFolder, Checkpoint]:
    if (path / STATE_FILE).is_file():
        return RunFolder(path.absolute().parents[1]), read_checkpoint(path)
    folder = RunFolder(path)
    if not folder.checkpoints.is_dir():
        raise CheckpointError(
            f"{folder.path} is not a run folder",
            hint=suggest_run(
                path, hint="name a folder in runs/, or start a new run with: alexnet train"
            ),
            code="checkpoint_missing",
        )
    return folder, newest_checkpoint(folder.checkpoints, warn=warn)


def _saved_config(checkpoint: Checkpoint) -> TrainConfig:
    try:
        return TrainConfig(**checkpoint.config)
    except ValidationError as error:
        raise CheckpointError(
            f"checkpoint {checkpoint.folder} has a configuration of another version",
            hint="start a new run with: alexnet train",
            code="config_differs",
        ) from error


def _refuse_edited_config(folder: RunFolder, saved: TrainConfig, requested: dict[str, Any]) -> None:
    """Refuse an edited `config.toml`: only the checkpoint's settings take effect.

    Raises:
        UsageError: It has other settings than the checkpoint, and they were not given as flags too.
    """
    if not folder.config.is_file():
        return
    remove = f"rm {shlex.quote(str(folder.config))}"
    try:
        written = TrainConfig(**read_config(folder.config)).model_dump()
    except (UsageError, ValidationError) as error:
        raise UsageError(
            f"the settings of the run are damaged: {error}",
            hint=f"go on with those of its checkpoint: {remove}",
            code="config_edited",
        ) from error
    own = saved.model_dump()
    edited = {
        name: value
        for name, value in written.items()
        if value != own[name] and value != requested.get(name)
    }
    if edited:
        flags = " ".join(f"{flag_of(name)} {_shown(value)}" for name, value in edited.items())
        differences = "; ".join(
            f"{name} is {_shown(value)}, not {_shown(own[name])}" for name, value in edited.items()
        )
        raise UsageError(
            f"{folder.config} has other settings than the checkpoint: {differences}",
            hint=f"give a change as a flag: {folder.resume_command} {flags}; or go on with the "
            f"settings of the checkpoint: {remove}",
            code="config_edited",
        )


def merge_resume_settings(
    own: TrainConfig, requested: dict[str, Any], *, allow_drift: bool
) -> TrainConfig:
    """Return a run's settings with the changes that the user requested, by name of the field.

    A later end (`epochs`, `stop_after`) is not drift if the epochs before stay the same: the result
    is as if the run had been started with it. `allow_drift` accepts changes that make the result
    differ.

    Raises:
        UsageError: The result would differ, or another network or other data would be needed.
    """
    before = own.model_dump()
    changes = {name: value for name, value in requested.items() if value != before[name]}
    if not changes:
        return own
    differences = "; ".join(
        f"{name} is {_shown(before[name])}, not {_shown(value)}" for name, value in changes.items()
    )
    if fixed := sorted(name for name in changes if not flag_metadata(name).can_change):
        flags = ", ".join(map(flag_of, fixed))
        raise UsageError(
            f"the run cannot be resumed with other settings: {differences}",
            hint=f"leave {flags} out, or start a new run without --resume",
            code="config_differs",
        )
    try:
        changed = TrainConfig(**{**before, **changes})
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UsageError(
            f"the changed settings do not fit the run ({differences}): {reason}",
            hint="see its config.toml",
        ) from error
    if allow_drift or _only_extends(own, changed):
        return changed
    flags = ", ".join(map(flag_of, sorted(changes)))
    raise UsageError(
        f"the run was started with other settings: {differences}",
        hint=f"leave {flags} out, or accept another result: --allow-drift",
        code="config_differs",
    )


def _only_extends(own: TrainConfig, changed: TrainConfig) -> bool:
    """Return True if the run ends no earlier, and is the same until its old end."""
    epochs, stop_after = changed.epochs, changed.stop_after
    if changed != own.model_copy(update={"epochs": epochs, "stop_after": stop_after}):
        return False
    ends_later = epochs >= own.epochs and (stop_after or math.inf) >= (own.stop_after or math.inf)
    falls_to_zero = own.schedule in (Schedule.LINEAR, Schedule.COSINE)
    depends_on_epochs = falls_to_zero or own.warmup_epochs or own.early_crop_size
    return ends_later and (epochs == own.epochs or not depends_on_epochs)


def _shown(value: object) -> str:
    return repr(value) if value == "" else str(value)


def require_same_environment(
    before: dict[str, str], now: dict[str, str], *, allow_drift: bool, warn: Callable[[str], None]
) -> None:
    """Compare the environment of a checkpoint with that of this process; with drift only warn.

    Raises:
        UsageError: They differ.
    """
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if not names:
        return
    differences = "; ".join(
        f"{name} was {before.get(name, 'none')}, is {now.get(name, 'none')}" for name in names
    )
    if not allow_drift:
        raise UsageError(
            f"resuming here would not be bit-identical: {differences}",
            hint="resume where the run was started, or accept that: --allow-drift",
            code="environment_differs",
        )
    warn(f"the result will not be bit-identical: {differences}")


def launch_record(ranks: Ranks) -> dict[str, str]:
    """Return the entry of `environment.json` with torchrun's id of a launch; {} for one process."""
    return {} if ranks.is_alone else {"launch": os.environ.get("TORCHELASTIC_RUN_ID", "")}


def find_restarted_run(ranks: Ranks, parent: Path) -> RunFolder | None:
    """Return the run in `parent` that these processes trained before torchrun restarted them."""
    if ranks.is_alone or os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
        return None
    record = launch_record(ranks)
    started = [
        path
        for path in parent.glob("*/environment.json")
        if record.items() <= json.loads(path.read_text(encoding="utf-8")).items()
    ]
    newest = max(started, key=lambda path: path.stat().st_mtime_ns, default=None)
    return RunFolder(newest.parent) if newest else None
