"""A training run from beginning to end: prepare or resume it, train, complete its folder."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.data.arrays import ImageSource, load_if_fits, training_statistics
from alexnet_cli.data.datasets import Dataset, find_dataset, load_training, split_fingerprint
from alexnet_cli.data.folder import ImageFolder
from alexnet_cli.errors import CheckpointError, TrainingError
from alexnet_cli.files import lock_folder
from alexnet_cli.run_folder import RunFolder, create_run
from alexnet_cli.training import run_files
from alexnet_cli.training.checkpoint import (
    STATE_FILE,
    Checkpoint,
    EpochRow,
    newest_checkpoint,
    read_checkpoint,
)
from alexnet_cli.training.device import (
    is_out_of_memory,
    resolve_device,
    resolve_precision,
    use_deterministic_kernels,
)
from alexnet_cli.training.loop import Trainer
from alexnet_cli.training.ranks import StopRequest, is_lost_peer, lost_peer_error
from alexnet_cli.training.reporting import Reporter
from alexnet_cli.training.resume import (
    find_restarted_run,
    launch_record,
    merge_resume_settings,
    require_same_environment,
)
from alexnet_cli.training.setup import (
    RuntimeOptions,
    TrainingRun,
    describe_model,
    has_batch_norm,
    plan_training,
    require_fit,
    require_undivided_batches,
    resolve_sizes,
)


def prepare_run(
    config: TrainConfig, options: RuntimeOptions, *, name: str | None, parent: Path
) -> TrainingRun:
    """Load the data, check that everything fits, and only then create `parent/name`.

    The name is by default that of the network and of the dataset.
    """
    ranks, num_workers = options.ranks, options.num_workers
    device, dtype = _resolve_hardware(config, options)
    dataset, network, pretrained = plan_training(config, num_ranks=ranks.world_size)
    size_px, _ = resolve_sizes(config, stored_px=dataset.image_size_px)
    train, val, images = _load_images(config, dataset, size_px, num_workers, check_files=True)
    require_fit(config, network, num_images=len(train))
    colours = training_statistics(train, size_px=size_px, seed=config.seed, num_workers=num_workers)
    origin = pretrained.manifest if pretrained else None
    manifest = describe_model(
        config, dataset, colours, num_val=len(val), images=images, pretrained=origin
    )
    name = name or config.default_name
    folder = RunFolder(parent / name)
    if ranks.is_first:
        folder = find_restarted_run(ranks, parent) or create_run(name, parent=parent)
    run = TrainingRun(
        config,
        manifest,
        train,
        val,
        folder,
        device,
        dtype,
        colour_axes=colours.noise_axes(config.colour_noise) if config.colour_noise else (),
        pretrained=pretrained,
        options=options,
        stop=StopRequest(once=not ranks.is_alone),
    )
    if ranks.is_first:
        run_files.write_config(folder, config)
        run_files.write_environment(folder, {**run.environment, **launch_record(ranks)})
    return run


def resume_run(
    path: Path,
    options: RuntimeOptions,
    *,
    requested: dict[str, Any],
    allow_drift: bool = False,
    warn: Callable[[str], None],
) -> tuple[TrainingRun, Checkpoint]:
    """Resume a run from its newest valid checkpoint, with its saved configuration.

    Args:
        path: The run folder, or one of its checkpoints.
        options: Runtime options.
        requested: The settings that the user gave, by name of the field.
        allow_drift: Accept settings and hardware that differ from the run's.
        warn: Called with a message for each damaged checkpoint, and for drift.

    Raises:
        CheckpointError: There is no usable checkpoint.
        UsageError: The run has other settings than those requested, or the result would differ.
    """
    folder, checkpoint = _find_checkpoint(path, warn=warn)
    own = _saved_config(checkpoint)
    config = merge_resume_settings(own, requested, allow_drift=allow_drift)
    manifest = checkpoint.manifest
    require_undivided_batches(config, manifest.network, num_ranks=options.ranks.world_size)
    device, dtype = _resolve_hardware(config, options)
    train, val, images = _load_images(
        config, find_dataset(config.data), manifest.input.image_size_px, options.num_workers
    )
    provenance = replace(manifest.provenance, config_sha256=config.sha256(), images=images)
    run = TrainingRun(
        config,
        replace(manifest, provenance=provenance),
        train,
        val,
        folder,
        device,
        dtype,
        colour_axes=checkpoint.colour_axes,
        options=options,
        stop=StopRequest(once=not options.ranks.is_alone),
    )
    require_same_environment(
        checkpoint.environment, run.environment, allow_drift=allow_drift, warn=warn
    )
    if options.ranks.is_first and config != own:
        run_files.write_config(folder, config)
    return run, checkpoint


def _resolve_hardware(
    config: TrainConfig, options: RuntimeOptions
) -> tuple[torch.device, torch.dtype]:
    device = resolve_device(options.ranks.device_name(options.device))
    if options.deterministic:
        use_deterministic_kernels(device)
    return device, resolve_precision(config.precision, device)


def _load_images(
    config: TrainConfig,
    dataset: Dataset,
    size_px: int,
    num_workers: int,
    *,
    check_files: bool = False,
) -> tuple[ImageSource, ImageSource, str]:
    """Return training and validation images, and the fingerprint of their split.

    Where they fit, they are in memory, resized. With `check_files`, all files of a folder are
    opened first, so that none fails later.
    """
    sources = load_training(dataset, val_size=config.val_size, seed=config.seed)
    for source in sources:
        if check_files and isinstance(source, ImageFolder):
            source.require_headers()
    train, val = (
        load_if_fits(source, size_px=size_px, num_workers=num_workers) for source in sources
    )
    return train, val, split_fingerprint(*sources)  # of the files, before they are resized


def _find_checkpoint(path: Path, *, warn: Callable[[str], None]) -> tuple[RunFolder, Checkpoint]:
    if (path / STATE_FILE).is_file():
        return RunFolder(path.absolute().parents[1]), read_checkpoint(path)
    folder = RunFolder(path)
    if not folder.checkpoints.is_dir():
        raise CheckpointError(
            f"{folder.path} is not a run folder",
            hint="name a folder in runs/, or start a new run with: alexnet train",
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


def train(
    run: TrainingRun, checkpoint: Checkpoint | None = None, reporters: Sequence[Reporter] = ()
) -> EpochRow:
    """Train to the end, complete the run folder, and return the row of the best epoch.

    Raises:
        TrainingError: Another process trains this run, the loss is not finite, memory ran out, or
            a process was lost.
        Interrupted: A signal came; a checkpoint was saved.
    """
    try:
        with run.ranks.run_on_all_ranks(lambda: _lock(run)):
            if run.ranks.is_first:
                run_files.remove_partial_files(run.folder)
            trainer = Trainer(run, reporters)
            if checkpoint is not None:
                step = checkpoint.state.step
                run.ranks.run_on_all_ranks(lambda: _require_same_step(run, step))
                trainer.resume(checkpoint)
            history = trainer.train()
            best = max(history, key=lambda row: row.val_top1)
            if run.ranks.is_first:
                run_files.write_metrics(run.folder, history)
                run_files.write_run_card(run.folder, run.config, run.manifest, best)
            return best
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and is_lost_peer(error):
            hint = "nothing was saved yet; start again with: alexnet train"
            if run.folder.has_checkpoint():
                hint = f"resume with: {run.folder.resume_command}"
            raise lost_peer_error(error, run.ranks, hint=hint) from error
        if is_out_of_memory(error):
            raise _out_of_memory_error(run) from error
        raise


def _lock(run: TrainingRun) -> AbstractContextManager[object]:
    """Take the lock of the run folder; the context manager gives it back."""
    if not run.ranks.is_first:
        return nullcontext()
    busy = TrainingError(
        f"another process is training {run.folder.path}",
        hint="wait for it, or start a new run with: alexnet train",
        code="run_busy",
    )
    return lock_folder(run.folder.path, busy=busy)


def _require_same_step(run: TrainingRun, step: int) -> None:
    if len(set(run.ranks.all_gather(step))) > 1:
        raise CheckpointError(
            f"the machines see different checkpoints in {run.folder.path}",
            hint="keep the run folder on a disk that all of them share",
            code="checkpoint_mismatch",
        )


def _out_of_memory_error(run: TrainingRun) -> TrainingError:
    """Return an error that suggests half of the images."""
    batch_size = run.config.batch_size
    size = -(-batch_size // run.ranks.world_size)  # of one rank
    size = min(run.config.micro_batch_size or size, size)
    if size == 1:
        hint = "use smaller images (--image-size, --crop-size) or a smaller network (--model)"
    elif has_batch_norm(run.manifest.network):
        hint = f"use smaller batches: alexnet train --batch-size {batch_size // 2}"
    else:
        resumes = run.folder.has_checkpoint()
        command = f"{run.folder.resume_command} --allow-drift" if resumes else "alexnet train"
        hint = f"use gradient accumulation: {command} --micro-batch-size {size // 2}"
    return TrainingError(
        f"not enough memory on {run.device} for {size} images at once",
        hint=hint,
        code="out_of_memory",
    )
