"""Starting a run, or going on with one."""

import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from pydantic import ValidationError

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.data.arrays import ImageSource, describe_split
from alexnet_cli.data.datasets import Dataset, find_dataset, load_training
from alexnet_cli.data.folder import ImageFolder
from alexnet_cli.data.prefetch import read_if_small, training_statistics
from alexnet_cli.errors import CheckpointError, TrainingError
from alexnet_cli.manifest import Manifest
from alexnet_cli.runs import RunFolder, create_run
from alexnet_cli.training import run_files as records
from alexnet_cli.training.checkpoint import (
    STATE_FILE,
    Checkpoint,
    ColourAxes,
    EpochRow,
    read_checkpoint,
)
from alexnet_cli.training.device import (
    is_out_of_memory,
    resolve_device,
    resolve_precision,
    use_deterministic_kernels,
)
from alexnet_cli.training.finetune import Pretrained
from alexnet_cli.training.loop import Trainer
from alexnet_cli.training.ranks import StopRequest, is_lost_peer, lost_peer
from alexnet_cli.training.reporting import Reporter
from alexnet_cli.training.resume import (
    find_restarted_run,
    launch_record,
    merge_resume_settings,
    require_same_environment,
)
from alexnet_cli.training.saving import newest_checkpoint
from alexnet_cli.training.setup import (
    RuntimeOptions,
    TrainingRun,
    describe_model,
    plan_run,
    require_fit,
    require_whole_batches,
    resolve_sizes,
)


def prepare_run(
    config: TrainConfig, conditions: RuntimeOptions, *, name: str | None, parent: Path
) -> TrainingRun:
    """Load the data, check that everything fits, and only then create the run folder.

    Args:
        config: The run's configuration.
        conditions: How it is carried out.
        name: Name of the run folder; network and dataset by default.
        parent: Where it is created.
    """
    ranks, num_workers = conditions.ranks, conditions.num_workers
    chosen = resolve_device(ranks.device_name(conditions.device))
    dtype = resolve_precision(config.precision, chosen)
    plan = plan_run(config, num_ranks=ranks.world_size)
    dataset, pretrained = plan.dataset, plan.pretrained
    images = _load_data(config, dataset, num_workers=num_workers, check_all=True)
    train = images.train
    require_fit(config, plan.network, num_images=len(train))
    colours = training_statistics(
        train, size_px=plan.image_size_px, seed=config.seed, num_workers=num_workers
    )
    manifest = describe_model(
        config, dataset, colours, pretrained=pretrained.manifest if pretrained else None
    )
    name = name or f"{config.model}-{Path(config.data).name}"
    run = RunFolder(parent / name)
    if ranks.is_first:
        run = find_restarted_run(ranks, parent) or create_run(name, parent=parent)
    axes = colours.noise_axes(config.colour_noise) if config.colour_noise else ()
    job = _job(config, manifest, images, run, conditions, device=chosen, dtype=dtype,
               colour_axes=axes, pretrained=pretrained)  # fmt: skip
    if ranks.is_first:
        records.write_config(run, config)
        records.write_environment(run, {**job.environment, **launch_record(ranks)})
    return job


def _job(  # noqa: PLR0913 - the parts of a job, each named at the call
    config: TrainConfig,
    manifest: Manifest,
    images: "_Images",
    run: RunFolder,
    conditions: RuntimeOptions,
    *,
    device: torch.device,
    dtype: torch.dtype,
    colour_axes: ColourAxes,
    pretrained: Pretrained | None = None,
) -> TrainingRun:
    provenance = replace(manifest.provenance, config_sha256=config.sha256(), images=images.division)
    if conditions.deterministic:
        use_deterministic_kernels(device)
    return TrainingRun(
        config, replace(manifest, provenance=provenance), images.train, images.val, run, device,
        dtype,
        colour_axes=colour_axes,
        pretrained=pretrained,
        num_workers=conditions.num_workers,
        stop=StopRequest(once=not conditions.ranks.is_alone),
        ranks=conditions.ranks,
        save_interval=conditions.save_interval,
    )  # fmt: skip


@dataclass(frozen=True)
class _Images:
    """What a run trains and validates on, and what that division is called."""

    train: ImageSource
    val: ImageSource
    division: str


def _load_data(
    config: TrainConfig, dataset: Dataset, *, num_workers: int, check_all: bool
) -> _Images:
    """Return training and validation images, in memory where they fit, resized then.

    Args:
        config: The run's configuration.
        dataset: The dataset it names.
        num_workers: Threads; 0: as many as cores.
        check_all: Whether a folder's files are all opened first, so that none fails later on.
    """
    size_px, _ = resolve_sizes(config, stored_px=dataset.image_size_px)
    parts = load_training(dataset, val_size=config.val_size, seed=config.seed)
    for part in parts:
        if check_all and isinstance(part, ImageFolder):
            part.require_headers()
    train, val = (read_if_small(part, size_px=size_px, num_workers=num_workers) for part in parts)
    return _Images(train, val, describe_split(*parts))


def resume_run(
    path: Path,
    conditions: RuntimeOptions,
    *,
    requested: dict[str, Any],
    allow_drift: bool = False,
    warn: Callable[[str], None],
) -> tuple[TrainingRun, Checkpoint]:
    """Go on with a run from its newest whole checkpoint, with its own configuration.

    Args:
        path: The run folder, or one of its checkpoints.
        conditions: How it is carried out.
        requested: The settings the user gave.
        allow_drift: Whether they, and the hardware, may differ from the run's.
        warn: Told of each damaged checkpoint that is passed over, and of drift.

    Raises:
        CheckpointError: There is no usable checkpoint.
        UsageError: A setting was asked for that the run does not have, or the result would differ.
    """
    ranks = conditions.ranks
    run, checkpoint = _checkpoint_of(path, warn=warn)
    own = _read_config(checkpoint)
    config = merge_resume_settings(own, requested, allow_drift=allow_drift)
    manifest = checkpoint.manifest
    require_whole_batches(config, manifest.network, num_ranks=ranks.world_size)
    chosen = resolve_device(ranks.device_name(conditions.device))
    images = _load_data(
        config, find_dataset(config.data), num_workers=conditions.num_workers, check_all=False
    )
    job = _job(
        config, manifest, images, run, conditions, device=chosen,
        dtype=resolve_precision(config.precision, chosen), colour_axes=checkpoint.colour_axes,
    )  # fmt: skip
    require_same_environment(
        checkpoint.environment, job.environment, allow_drift=allow_drift, warn=warn
    )
    if ranks.is_first and config != own:
        records.write_config(run, config)
    return job, checkpoint


def _checkpoint_of(path: Path, *, warn: Callable[[str], None]) -> tuple[RunFolder, Checkpoint]:
    if (path / STATE_FILE).is_file():
        return RunFolder(path.absolute().parents[1]), read_checkpoint(path)
    run = RunFolder(path)
    if not run.checkpoints.is_dir():
        raise CheckpointError(
            f"{run.path} is not a run folder",
            hint="name a folder in runs/, or start a new run with: alexnet train",
            code="checkpoint_missing",
        )
    return run, newest_checkpoint(run.checkpoints, warn=warn)


def _read_config(checkpoint: Checkpoint) -> TrainConfig:
    try:
        return TrainConfig(**checkpoint.config)
    except ValidationError as error:
        raise CheckpointError(
            f"checkpoint {checkpoint.folder} has a configuration of another version",
            hint="start a new run with: alexnet train",
            code="config_differs",
        ) from error


def train(job: TrainingRun, checkpoint: Checkpoint | None, reporter: Reporter) -> EpochRow:
    """Train to the end and return the best epoch's row; the run folder is then complete."""
    try:
        with job.ranks.run_on_all_ranks(lambda: _claim(job)):
            if job.ranks.is_first:
                records.remove_parts_of(job.run)
            trainer = Trainer(job, reporter)
            if checkpoint is not None:
                step = str(checkpoint.state.step)
                job.ranks.run_on_all_ranks(lambda: _require_one_step(job, step))
                trainer.resume(checkpoint)
            history = trainer.run()
            if job.ranks.is_first:
                _complete(job.run, job.config, job.manifest, history)
            return max(history, key=lambda row: row.val_top1)
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and is_lost_peer(error):
            raise lost_peer(error, job.ranks, hint=_how_to_go_on(job)) from error
        if is_out_of_memory(error):
            raise TrainingError(
                f"not enough memory on {job.device} for batches of {job.config.batch_size}",
                hint=f"train with a smaller batch: --batch-size {job.config.batch_size // 2 or 1}",
                code="out_of_memory",
            ) from error
        raise


def _claim(job: TrainingRun) -> AbstractContextManager[object]:
    """Take the run folder's lock; entered, it is given back at the end."""
    if not job.ranks.is_first:
        return nullcontext()
    try:
        return FileLock(job.run.path / ".lock", timeout=0).acquire()
    except Timeout as error:
        raise TrainingError(
            f"another process is training {job.run.path}",
            hint="wait for it, or start a new run with: alexnet train",
            code="run_busy",
        ) from error


def _require_one_step(job: TrainingRun, step: str) -> None:
    if len(set(job.ranks.all_gather_text(step))) > 1:
        raise CheckpointError(
            f"the machines see different checkpoints in {job.run.path}",
            hint="keep the run folder on a disk that all of them share",
            code="checkpoint_mismatch",
        )


def _how_to_go_on(job: TrainingRun) -> str:
    if any(job.run.checkpoints.glob(f"step-*/{STATE_FILE}")):
        return f"go on with: alexnet train --resume {shlex.quote(str(job.run.path))}"
    return "nothing was saved yet; start again with: alexnet train"


def _complete(
    run: RunFolder, config: TrainConfig, manifest: Manifest, history: tuple[EpochRow, ...]
) -> None:
    """Write the records of a run that has ended."""
    best = max(history, key=lambda row: row.val_top1)
    records.write_metrics(run, history)
    records.write_card(run, config, manifest, best)
