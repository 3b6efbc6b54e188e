"""Starting a run, or going on with one."""

from collections.abc import Callable
from pathlib import Path

import torch

from alexnet_cli.config import TrainConfig
from alexnet_cli.data.catalog import find_dataset, load_training
from alexnet_cli.errors import CheckpointError, UsageError
from alexnet_cli.models.build import build_network, num_parameters
from alexnet_cli.runs import RunFolder, create_run
from alexnet_cli.training import records
from alexnet_cli.training.checkpoint import Checkpoint, EpochRow, newest_checkpoint
from alexnet_cli.training.device import describe_device, resolve_device, resolve_precision
from alexnet_cli.training.loop import Job, Reporter, Trainer
from alexnet_cli.training.prepare import describe_model


def new_job(config: TrainConfig, *, device: str, name: str | None, parent: Path) -> Job:
    """Load the data, check that everything fits, and only then create the run folder.

    Args:
        config: The run's configuration.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        name: Name of the run folder; network and dataset by default.
        parent: Where it is created.
    """
    chosen = resolve_device(device)
    dtype = resolve_precision(config.precision, chosen)
    dataset = find_dataset(config.data)
    train, val = load_training(dataset, val_size=config.val_size, seed=config.seed)
    manifest = describe_model(config, dataset, train)
    build_network(manifest.network)  # refuses sizes that do not fit, before a folder is made
    run = create_run(name or f"{config.model}-{config.data}", parent=parent)
    records.write_config(run, config)
    records.write_environment(
        run, device=describe_device(chosen), precision=_name(dtype), threads=torch.get_num_threads()
    )
    return Job(config, manifest, train, val, run, chosen, dtype)


def resume_job(
    path: Path, *, requested: TrainConfig, device: str, warn: Callable[[str], None]
) -> tuple[Job, Checkpoint]:
    """Go on with a run from its newest whole checkpoint, with its own configuration.

    Args:
        path: The run folder.
        requested: What the user asked for; may differ from the run only where it is the default.
        device: As in `new_job`.
        warn: Called with a message for each damaged checkpoint that is passed over.

    Raises:
        CheckpointError: There is no usable checkpoint, or the run has ended.
        UsageError: A setting was asked for that the run does not have.
    """
    run = RunFolder(path)
    checkpoint = newest_checkpoint(run.checkpoints, warn=warn)
    config = TrainConfig(**checkpoint.config)
    _refuse_changes(config, requested)
    if checkpoint.state.epoch >= config.epochs:
        raise CheckpointError(
            f"run {path} has all its {config.epochs} epochs",
            hint=f"evaluate it with: alexnet evaluate {path}",
            code="run_complete",
        )
    chosen = resolve_device(device)
    dataset = find_dataset(config.data)
    train, val = load_training(dataset, val_size=config.val_size, seed=config.seed)
    dtype = resolve_precision(config.precision, chosen)
    return Job(config, checkpoint.manifest, train, val, run, chosen, dtype), checkpoint


def _refuse_changes(config: TrainConfig, requested: TrainConfig) -> None:
    default, wanted = TrainConfig().model_dump(), requested.model_dump()
    for name, own in config.model_dump().items():
        if wanted[name] not in (default[name], own):
            raise UsageError(
                f"the run was started with {name} {own}, it cannot go on with {wanted[name]}",
                hint=f"leave --{name.replace('_', '-')} out, or start a new run without --resume",
                code="config_differs",
            )


def describe_job(job: Job) -> str:
    """Say in one line what is about to be trained, on what and where."""
    parameters = num_parameters(build_network(job.manifest.network))
    spec = job.manifest.input
    return (
        f"training {job.config.model} ({parameters:,} parameters) on {len(job.train):,} images "
        f"of {job.config.data}, {spec.crop_size_px}-px crops of {spec.image_size_px} px, "
        f"{len(job.val):,} held out; {describe_device(job.device)}, {_name(job.dtype)}; "
        f"{job.run.path}"
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def train(job: Job, checkpoint: Checkpoint | None, reporter: Reporter) -> EpochRow:
    """Train to the end and return the best epoch's row; the run folder is then complete."""
    trainer = Trainer(job, reporter)
    if checkpoint is not None:
        trainer.resume(checkpoint)
    best = trainer.run()
    records.write_card(job.run, job.config, job.manifest, best)
    return best
