"""A training run from beginning to end: prepare it (or `resume.py`), train, complete its folder."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.console import note
from alexnet_cli.data.arrays import training_statistics
from alexnet_cli.data.content import are_among
from alexnet_cli.data.datasets import Dataset
from alexnet_cli.data.run_images import ImageRecord, RunImages, draw_images, find_record
from alexnet_cli.errors import CheckpointError, TrainingError, UsageError, is_out_of_memory
from alexnet_cli.files import lock_folder
from alexnet_cli.networks import PRETRAINED
from alexnet_cli.run_folder import SAVE_MINUTES, RunFolder, create_run
from alexnet_cli.training import run_files
from alexnet_cli.training.checkpoint import Checkpoint, EpochRow, set_aside_later
from alexnet_cli.training.device import resolve_precision
from alexnet_cli.training.loop import Trainer
from alexnet_cli.training.open_model import Pretrained
from alexnet_cli.training.ranks import ALONE, Ranks, StopRequest, is_lost_peer, lost_peer_error
from alexnet_cli.training.reporting import Reporter
from alexnet_cli.training.resume import find_restarted_run, launch_record
from alexnet_cli.training.setup import (
    TrainingRun,
    count_identical_images,
    describe_model,
    has_batch_norm,
    load_split_images,
    plan_training,
    require_fit,
    resize_images,
    resolve_sizes,
)


def prepare_run(
    config: TrainConfig,
    device: torch.device,
    *,
    name: str | None,
    parent: Path,
    ranks: Ranks = ALONE,
    num_workers: int = 0,
) -> TrainingRun:
    """Load the data, check that everything fits, and only then create `parent/name`.

    The name is by default that of the network and of the dataset.
    """
    dtype = resolve_precision(config.precision, device)
    dataset, spec, pretrained = plan_training(config, num_ranks=ranks.world_size)
    size_px, _ = resolve_sizes(config, stored_px=dataset.image_size_px)
    before = _record_of_weights(config, pretrained)
    images = _draw_images(config, dataset, before, is_quiet=not ranks.is_first)
    train, val = resize_images(images, size_px, num_workers)
    require_fit(config, spec, num_images=len(train))
    colours = training_statistics(train, size_px=size_px, seed=config.seed, num_workers=num_workers)
    origin = pretrained.manifest if pretrained else None
    manifest = describe_model(
        config,
        dataset,
        colours,
        num_val=len(val),
        fingerprint=images.fingerprint,
        pretrained=origin,
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
        ranks=ranks,
        num_workers=num_workers,
        stop=StopRequest(once=not ranks.is_alone),
        identical=count_identical_images(dataset, images),
    )
    if ranks.is_first:
        images.record(before).write(folder)
        run_files.write_config(folder, config)
        run_files.write_environment(folder, {**run.environment, **launch_record(ranks)})
    return run


def _record_of_weights(config: TrainConfig, pretrained: Pretrained | None) -> ImageRecord | None:
    """Return which images the weights to start from were trained on, if that is known."""
    if pretrained is None or pretrained.name in PRETRAINED:
        return None
    origin = pretrained.manifest.provenance
    return find_record(Path(pretrained.name), origin, data=config.data)


def _draw_images(
    config: TrainConfig, dataset: Dataset, before: ImageRecord | None, *, is_quiet: bool
) -> RunImages:
    """Draw the split; images that the weights to start from were trained on are not held out."""
    images = load_split_images(config, dataset)
    if before is None:
        return images
    num_seen = int(are_among(images.val.hashes(), before.trained_on).sum())
    if not num_seen:
        return images
    if num_seen == len(images.val):
        raise UsageError(
            f"{config.from_weights} was trained on all {num_seen:,} validation images",
            hint="hold out the images that it held out, with its --seed and --val-size",
            code="trained_on",
        )
    note(
        f"{num_seen:,} of {len(images.val):,} images that would be held out were training images "
        f"of {config.from_weights}: they are not validated on",
        quiet=is_quiet,
    )
    return draw_images(
        dataset, val_size=config.val_size, seed=config.seed, trained_on=before.trained_on
    )


def train_run(
    run: TrainingRun,
    checkpoint: Checkpoint | None = None,
    reporters: Sequence[Reporter] = (),
    *,
    save_minutes: float = SAVE_MINUTES,
    save_steps: int = 0,
) -> EpochRow:
    """Train to the end, complete the run folder, and return the row of the best epoch.

    Between checkpoints inside an epoch are `save_minutes` and `save_steps` updates; 0 = off.

    Raises:
        TrainingError: Another process trains this run, the loss is not finite, memory ran out, or
            a process was lost.
        Interrupted: A signal came; a checkpoint was saved.
    """
    try:
        with run.ranks.run_on_all_ranks(lambda: _lock(run)), run_files.same_folder(run.folder):
            if run.ranks.is_first:
                run_files.remove_partial_files(run.folder)
            trainer = Trainer(run, reporters, save_minutes=save_minutes, save_steps=save_steps)
            if checkpoint is not None:
                step = checkpoint.state.step
                run.ranks.run_on_all_ranks(lambda: _require_same_step(run, step))
                run.ranks.run_on_all_ranks(lambda: _go_back_to(checkpoint, run))
                trainer.resume(checkpoint)
            history = trainer.train()
            if run.ranks.is_first:
                run_files.require_same_folder(run.folder, trainer.folder_identity)
                run_files.write_metrics(run.folder, run.config, history, run.identical)
                run_files.write_run_card(
                    run.folder, run.config, run.manifest, history, run.identical
                )
            return max(history, key=lambda row: row.val_top1)
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


def _go_back_to(checkpoint: Checkpoint, run: TrainingRun) -> None:
    """Bring the run folder to the state of a checkpoint, on rank 0; later ones are set aside."""
    if not run.ranks.is_first:
        return
    moved = set_aside_later(run.folder, checkpoint.state.step)
    if moved:
        note(
            f"the run goes on from step {checkpoint.state.step}; later checkpoints are kept in "
            f"{run.folder.set_aside}: {', '.join(path.name for path in moved)}"
        )
    run_files.write_metrics(run.folder, run.config, checkpoint.state.history, run.identical)


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
