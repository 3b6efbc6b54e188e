"""`alexnet train`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alexnet_cli.cli.options import Deterministic, Device, Json, Quiet, with_config_flags
from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.console import note, print_json
from alexnet_cli.errors import AlexnetError, UsageError
from alexnet_cli.runs import NEWEST, RUNS_FOLDER, SAVE_MINUTES, newest_run

if TYPE_CHECKING:
    from alexnet_cli.training.checkpoint import Checkpoint
    from alexnet_cli.training.ranks import Ranks
    from alexnet_cli.training.setup import TrainingRun
    from alexnet_cli.training.tracking import TrackerName

EXAMPLES = (
    "alexnet train",
    "alexnet train --epochs 90 --batch-size 128 --lr 0.01",
    "alexnet train --recipe fast --data photos --val-size 500",
    "alexnet train --config runs/alexnet-cifar-cifar10/config.toml",
    "alexnet train --resume",
)

_SAVING, _PROCESSES = "Run folder and saving", "Several processes"
_TRACKING = "Experiment trackers"


@with_config_flags
def command(
    *,
    config: TrainConfig,
    given: dict[str, Any],
    device: Device = "auto",
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Go on with a run, with its own configuration; without RUN: the newest one.",
            metavar="[RUN]",
            show_default=False,
            rich_help_panel=_SAVING,
        ),
    ] = None,
    allow_drift: Annotated[
        bool,
        typer.Option(
            "--allow-drift",
            help="With --resume: go on with other settings, or on other hardware.",
            rich_help_panel=_SAVING,
        ),
    ] = False,
    save_minutes: Annotated[
        float,
        typer.Option(
            min=0,
            help="Save inside an epoch too, after so many minutes; 0: only after epochs.",
            rich_help_panel=_SAVING,
        ),
    ] = SAVE_MINUTES,
    save_steps: Annotated[
        int,
        typer.Option(
            min=0,
            help="Save after so many updates, too; 0: by time alone.",
            rich_help_panel=_SAVING,
        ),
    ] = 0,
    deterministic: Deterministic = False,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the run folder; MODEL-DATA by default.",
            show_default=False,
            rich_help_panel=_SAVING,
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Folder that holds the run folders.",
            rich_help_panel=_SAVING,
        ),
    ] = RUNS_FOLDER,
    processes: Annotated[
        int,
        typer.Option(
            min=1,
            help="Share each batch among this many GPUs, or processes on the CPU.",
            rich_help_panel=_PROCESSES,
        ),
    ] = 1,
    max_restarts: Annotated[
        int,
        typer.Option(
            min=0,
            help="Start the processes again so many times, when one of them has died.",
            rich_help_panel=_PROCESSES,
        ),
    ] = 0,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check that settings, sizes and network fit each other, print the settings as "
            "JSON and stop; no images or device are needed.",
        ),
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
    plots: Annotated[
        bool,
        typer.Option(
            "--plots/--no-plots",
            envvar="ALEXNET_PLOTS",
            show_envvar=False,
            help="At the end, draw metrics.png, confusion.png and filters.png in the run folder.",
            rich_help_panel=_SAVING,
        ),
    ] = True,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard",
            help="Write events for: tensorboard --logdir runs.",
            rich_help_panel=_TRACKING,
        ),
    ] = False,
    wandb: Annotated[
        bool,
        typer.Option(
            "--wandb",
            help="Log to Weights & Biases, or WANDB_MODE=offline.",
            rich_help_panel=_TRACKING,
        ),
    ] = False,
    mlflow: Annotated[
        bool,
        typer.Option(
            "--mlflow", help="Log to MLflow, at MLFLOW_TRACKING_URI.", rich_help_panel=_TRACKING
        ),
    ] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train a network; the run folder's path is the result.

    The defaults are those of the 2012 paper: SGD with momentum 0.9, weight
    decay 0.0005, rate 0.01 divided by ten on a plateau of the validation
    accuracy, batches of 128, dropout 0.5, 90 epochs. Validation images are held
    out of the training set; the test set is not touched.
    """
    if resume is not None and (name is not None or dry_run):
        flag = "--dry-run" if dry_run else "--name"
        raise UsageError(f"{flag} is for new runs", hint="leave it out with --resume")
    if dry_run:
        from alexnet_cli.training.setup import plan_run

        plan_run(config, num_ranks=processes)
        print_json(config.model_dump(mode="json"))
        return
    chosen = _requested_trackers({"tensorboard": tensorboard, "wandb": wandb, "mlflow": mlflow})
    if _is_launched(processes, device=device, max_restarts=max_restarts):
        return
    from alexnet_cli.training.ranks import Ranks, ReportedByOtherRankError, process_group
    from alexnet_cli.training.run import prepare_run, resume_run
    from alexnet_cli.training.saving import SaveInterval
    from alexnet_cli.training.setup import RuntimeOptions

    def prepare(ranks: Ranks) -> "tuple[TrainingRun, Checkpoint | None]":
        interval = SaveInterval(save_minutes, save_steps)
        conditions = RuntimeOptions(device, workers, interval, deterministic, ranks)
        begun = resume or _begun(ranks, output)
        if begun is None:
            return prepare_run(config, conditions, name=name, parent=output), None
        path = newest_run(output).path if begun == NEWEST else begun
        warn = note if ranks.is_first else _say_nothing
        return resume_run(path, conditions, requested=given, allow_drift=allow_drift, warn=warn)

    try:
        with process_group() as ranks:
            job, checkpoint = ranks.run_on_all_ranks(lambda: prepare(ranks))
            trackers = chosen if ranks.is_first else []
            _train(job, checkpoint, trackers=trackers, quiet=quiet)
        if job.ranks.is_first:
            _finish(job, plots=plots, as_json=json)
    except ReportedByOtherRankError as error:
        raise typer.Exit(error.exit_code) from error


def _requested_trackers(flags: dict[str, bool]) -> "list[TrackerName]":
    """Return the trackers whose flag is set, or raise an error if one is not installed."""
    if not any(flags.values()):
        return []
    from alexnet_cli.training.tracking import TrackerName, require_package

    names = [TrackerName(name) for name, is_on in flags.items() if is_on]
    for name in names:
        require_package(name)
    return names


def _begun(ranks: "Ranks", parent: Path) -> Path | None:
    """Return the run that these processes had begun when one of them died, if it has saved."""
    from alexnet_cli.training.resume import find_restarted_run

    run = find_restarted_run(ranks, parent)
    return run.path if run is not None and run.has_checkpoint() else None


def _is_launched(processes: int, *, device: str, max_restarts: int) -> bool:
    """Run the command on several processes, unless this is one of them; True when it was done."""
    if processes == 1:
        if max_restarts:
            raise UsageError("--max-restarts is for several processes", hint="use --processes 2")
        return False
    from alexnet_cli.training.launch import launch, require_devices
    from alexnet_cli.training.ranks import ranks_from_env

    ranks = ranks_from_env()
    if not ranks.is_alone:
        if ranks.world_size != processes:
            raise UsageError(
                f"--processes {processes}, but torchrun started {ranks.world_size}",
                hint="leave --processes out under torchrun",
            )
        return False
    require_devices(processes, device=device)
    status = launch(sys.argv[1:], num_processes=processes, max_restarts=max_restarts)
    if status:
        raise typer.Exit(status)
    return True


def _say_nothing(_message: str) -> None:
    """Leave it to the first of several processes."""


def _train(
    job: "TrainingRun",
    checkpoint: "Checkpoint | None",
    *,
    trackers: "list[TrackerName]",
    quiet: bool,
) -> None:
    """Train and tell how it goes; only the first of several processes speaks."""
    from alexnet_cli.training import run as start
    from alexnet_cli.training.reporting import Reporters, TrainingDisplay
    from alexnet_cli.training.setup import describe_run
    from alexnet_cli.training.tracking import open_trackers

    quiet = quiet or not job.ranks.is_first
    if checkpoint is not None:
        note(f"resuming {job.run.path} at step {checkpoint.state.step}", quiet=quiet)
        if checkpoint.state.epoch >= job.config.epochs:
            note(f"it has all its {job.config.epochs} epochs; more with: --epochs N", quiet=quiet)
    note(describe_run(job), quiet=quiet)
    num_done = len(checkpoint.state.history) if checkpoint else 0
    with (
        open_trackers(trackers, job, first_epoch=num_done, warn=note) as tracking,
        TrainingDisplay(job.config.epochs, quiet=quiet) as display,
    ):
        best = start.train(job, checkpoint, Reporters(display, *tracking))
    note(f"best validation top-1 {best.val_top1:.2%} in epoch {best.epoch}", quiet=quiet)


def _finish(job: "TrainingRun", *, plots: bool, as_json: bool) -> None:
    """Draw the plots of a run that is whole already, and print the result."""
    from alexnet_cli.training import run_files as records

    if plots:
        from alexnet_cli.report.page import plot_trained

        try:
            plot_trained(job.run, job.val, device=job.device)
        except AlexnetError as error:  # it is a run without them, too
            note(f"the run is complete, but there are no plots of it: {error.message}")
    if as_json:
        print_json(records.read_result(job.run))
    else:
        print(job.run.path)
