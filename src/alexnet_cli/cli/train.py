"""`alexnet train`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from alexnet_cli.cli.config_flags import with_config_flags
from alexnet_cli.cli.console import note, print_json
from alexnet_cli.cli.options import Device, Json, Quiet
from alexnet_cli.config import TrainConfig
from alexnet_cli.errors import UsageError
from alexnet_cli.runs import RUNS_FOLDER

EXAMPLES = "Example: alexnet train --epochs 90 --batch-size 128 --lr 0.01"


@with_config_flags
def command(
    *,
    config: TrainConfig,
    given: dict[str, Any],
    device: Device = "auto",
    resume: Annotated[
        Path | None,
        typer.Option(help="Go on with this run, with its own configuration.", show_default=False),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the run folder; MODEL-DATA by default.", show_default=False),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder that holds the run folders.")
    ] = RUNS_FOLDER,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the configuration and stop.")
    ] = False,
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            "-j",
            min=0,
            max=1024,
            help="Threads that decode images; 0: as many as cores. The result is the same.",
        ),
    ] = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train a network; the run folder's path is the result.

    The defaults are those of the 2012 paper: SGD with momentum 0.9, weight
    decay 0.0005, rate 0.01 divided by ten on a plateau of the validation
    accuracy, batches of 128, dropout 0.5, 90 epochs. Validation images are held
    out of the training set; the test set is not touched.
    """
    if dry_run:
        print_json(config.model_dump(mode="json"))
        return
    from alexnet_cli.cli.training_display import TrainingDisplay
    from alexnet_cli.training import records, start

    if resume is not None:
        if name is not None:
            raise UsageError("--name is for new runs", hint="leave it out with --resume")
        job, checkpoint = start.resume_job(
            resume, requested=given, device=device, warn=note, num_workers=workers
        )
        note(f"resuming {job.run.path} at step {checkpoint.state.step}", quiet=quiet)
    else:
        job = start.new_job(config, device=device, name=name, parent=output, num_workers=workers)
        checkpoint = None
    note(start.describe_job(job), quiet=quiet)
    with TrainingDisplay(job.config.epochs, quiet=quiet) as display:
        best = start.train(job, checkpoint, display)
    note(f"best validation top-1 {best.val_top1:.2%} in epoch {best.epoch}", quiet=quiet)
    if json:
        print_json(records.read_result(job.run))
    else:
        print(job.run.path)
