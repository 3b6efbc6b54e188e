"""`alexnet train`."""

import functools
import itertools
import json
import os
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alexnet_cli.cli.options import Deterministic, Device, Json, Quiet, with_config_flags
from alexnet_cli.config.recipes import describe_quicker_recipe
from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.console import note, print_json, print_path, printable, suggest
from alexnet_cli.errors import AlexnetError, CheckpointError, UsageError
from alexnet_cli.run_folder import (
    NEWEST,
    RUNS_FOLDER,
    SAVE_MINUTES,
    RunFolder,
    list_exports,
    newest_run,
)

if TYPE_CHECKING:
    from alexnet_cli.training.checkpoint import Checkpoint
    from alexnet_cli.training.setup import TrainingRun

EXAMPLES = (
    "alexnet train",
    "alexnet train --epochs 90 --batch-size 128 --lr 0.01",
    "alexnet train --recipe fast --data photos --val-size 0.2",
    "alexnet train --config runs/alexnet-cifar-cifar10/config.toml",
    "alexnet train --resume",
)

_MAX_CLASSES = 20  # in the table of a dry run
_SPLITS = {"train": "training", "val": "validation", "test": "test"}

_saving = functools.partial(typer.Option, rich_help_panel="Run folder and saving")
_processes = functools.partial(typer.Option, rich_help_panel="Several processes")
_tracker = functools.partial(typer.Option, rich_help_panel="Experiment trackers")


@with_config_flags
def command(
    *,
    config: TrainConfig,
    given: dict[str, Any],
    device: Device = "auto",
    resume: Annotated[
        Path | None,
        _saving(
            metavar="[RUN]",
            help="Resume a run with its saved configuration; without RUN: the newest one.",
        ),
    ] = None,
    allow_drift: Annotated[
        bool,
        _saving("--allow-drift", help="With --resume: accept other settings or other hardware."),
    ] = False,
    save_minutes: Annotated[
        float,
        _saving(min=0, help="Minutes between checkpoints inside an epoch; 0 = only after epochs."),
    ] = SAVE_MINUTES,
    save_steps: Annotated[
        int, _saving(min=0, help="Updates between checkpoints inside an epoch; 0 = by time alone.")
    ] = 0,
    deterministic: Deterministic = False,
    name: Annotated[
        str | None, _saving(help="Name of the run folder; MODEL-DATA by default.")
    ] = None,
    output: Annotated[
        Path, _saving("--output", "-o", help="Folder of the run folders.")
    ] = RUNS_FOLDER,
    processes: Annotated[
        int,
        _processes(min=1, help="Split each batch over this many GPUs, or processes on the CPU."),
    ] = 1,
    max_restarts: Annotated[
        int, _processes(min=0, help="Restarts of all processes after one of them has died.")
    ] = 0,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check settings, network and images, print what would be trained and how long an "
            "epoch would take, and stop.",
        ),
    ] = False,
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            "-j",
            min=0,
            max=1024,
            help="Threads that decode images; 0 = one per core. They do not change the result.",
        ),
    ] = 0,
    plots: Annotated[
        bool,
        _saving(
            "--plots/--no-plots",
            envvar="ALEXNET_PLOTS",
            show_envvar=False,
            help="At the end, draw metrics.png, confusion.png and filters.png in the run folder.",
        ),
    ] = True,
    tensorboard: Annotated[
        bool, _tracker("--tensorboard", help="Write events for: tensorboard --logdir runs.")
    ] = False,
    wandb: Annotated[
        bool, _tracker("--wandb", help="Log to Weights & Biases, or WANDB_MODE=offline.")
    ] = False,
    mlflow: Annotated[
        bool, _tracker("--mlflow", help="Log to MLflow, at MLFLOW_TRACKING_URI.")
    ] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train a network; the run folder's path is the result.

    The defaults are those of the 2012 paper: SGD with momentum 0.9, weight
    decay 0.0005, learning rate 0.01 divided by ten on a plateau of the validation
    accuracy, batches of 128, dropout 0.5, 90 epochs. Validation images are held
    out of the training set; the test set is not touched. A default by recipe also
    depends on network and data: alexnet config shows its value.
    """
    new_only = {"--name": name is not None, "--dry-run": dry_run}
    _check_request(config, resume, new_only=new_only, quiet=quiet)
    finished = _finished_run(resume, output, given=given, with_plots=plots)
    if finished is not None:
        note(f"{finished.path} has all its epochs; more with: --epochs N", quiet=quiet)
        _print_result(finished, as_json=json, quiet=quiet)
        return
    if dry_run:
        _dry_run(config, device=device, num_ranks=processes, name=name, parent=output, as_json=json)
        return
    chosen = _requested_trackers({"tensorboard": tensorboard, "wandb": wandb, "mlflow": mlflow})
    _launch(processes, device=device, max_restarts=max_restarts)
    from alexnet_cli.training.device import resolve_device, use_deterministic_kernels
    from alexnet_cli.training.ranks import ReportedByOtherRankError, process_group
    from alexnet_cli.training.reporting import TrainingDisplay
    from alexnet_cli.training.resume import find_run, resume_run
    from alexnet_cli.training.run import prepare_run, train_run
    from alexnet_cli.training.tracking import open_trackers

    def open_run() -> "tuple[TrainingRun, Checkpoint | None]":
        own_device = resolve_device(ranks.device_name(device))
        if deterministic:
            use_deterministic_kernels(own_device)
        path = find_run(resume, ranks, output)
        if path is not None:
            return resume_run(
                path, own_device, requested=given, allow_drift=allow_drift, ranks=ranks,
                num_workers=workers,
            )  # fmt: skip
        run = prepare_run(
            config, own_device, name=name, parent=output, ranks=ranks, num_workers=workers
        )
        return run, None

    try:
        with process_group() as ranks:
            is_quiet = quiet or not ranks.is_first
            run, checkpoint = ranks.run_on_all_ranks(open_run)
            _announce(run, checkpoint, quiet=is_quiet)
            num_done = checkpoint.state.epoch if checkpoint else 0
            with (
                open_trackers(chosen, run, first_epoch=num_done) as trackers,
                TrainingDisplay(
                    run.config.epochs, quiet=is_quiet,
                    quicker="" if checkpoint else describe_quicker_recipe(run.config),
                ) as display,
            ):  # fmt: skip
                best = train_run(
                    run, checkpoint, [display, *trackers],
                    save_minutes=save_minutes, save_steps=save_steps,
                )  # fmt: skip
            note(f"best val acc {best.val_top1:.2%} in epoch {best.epoch}", quiet=is_quiet)
        _finish(run, plots=plots, as_json=json, quiet=quiet)
    except ReportedByOtherRankError as error:
        raise typer.Exit(error.exit_code) from error


def _check_request(
    config: TrainConfig, resume: Path | None, *, new_only: dict[str, bool], quiet: bool
) -> None:
    """Refuse what cannot be trained, before PyTorch is imported, which takes seconds.

    Checks: images exist, the split is possible, no flag of new runs with `--resume`.
    """
    from alexnet_cli.data.datasets import find_dataset, load_training
    from alexnet_cli.data.folder import note_left_out

    if resume is not None:
        for flag in (flag for flag, is_given in new_only.items() if is_given):
            raise UsageError(f"{flag} is for new runs", hint="leave it out with --resume")
        return
    if "RANK" in os.environ:  # their launcher has done so
        return
    dataset = find_dataset(config.data)
    is_folder = dataset.image_size_px is None
    if is_folder or not all(file.path.exists() for file in dataset.files):
        sources = load_training(dataset, val_size=config.val_size, seed=config.seed)
        note_left_out(*sources, quiet=quiet)


def _dry_run(
    config: TrainConfig,
    *,
    device: str,
    num_ranks: int,
    name: str | None,
    parent: Path,
    as_json: bool,
) -> None:
    """Check what can be checked without training, and print what would be trained."""
    from alexnet_cli.data.run_images import describe_identical
    from alexnet_cli.models.build import build_network, num_parameters
    from alexnet_cli.run_folder import next_run
    from alexnet_cli.training.device import images_per_second, resolve_device, resolve_precision
    from alexnet_cli.training.setup import (
        count_identical_images,
        load_split_images,
        plan_training,
        require_fit,
        resolve_sizes,
    )

    torch_device = resolve_device(device)
    dtype = resolve_precision(config.precision, torch_device)
    dataset, spec, _ = plan_training(config, num_ranks=num_ranks)
    images = load_split_images(config, dataset)
    train, val = images.train, images.val
    require_fit(config, spec, num_images=len(train))
    identical = count_identical_images(dataset, images)
    if text := describe_identical(identical):
        note(text)
    try:
        test_labels = dataset.load_test().labels_N.tolist()
    except AlexnetError as error:  # training does not need them
        note(f"no test images: {error.message}")
        test_labels = []
    labels = {"train": train.labels_N.tolist(), "val": val.labels_N.tolist(), "test": test_labels}
    counts = {split: Counter(each) for split, each in labels.items()}
    image_size_px, crop_size_px = resolve_sizes(config, stored_px=dataset.image_size_px)
    network = build_network(spec, seed=config.seed)
    speed = images_per_second(network, crop_size_px, device=torch_device, dtype=dtype)
    plan = {
        "num_images": {split: len(each) for split, each in labels.items()},
        "images_per_class": {
            name: {split: counts[split][label] for split in counts}
            for label, name in enumerate(dataset.classes)
        },
        "num_parameters": num_parameters(network),
        "image_size_px": image_size_px,
        "crop_size_px": crop_size_px,
        "device": str(torch_device),
        "seconds_per_epoch": len(train) / speed,
        "identical_images": identical,
        "run": str(next_run(name or config.default_name, parent=parent)),
    }
    if as_json:
        print_json({**config.model_dump(mode="json"), "plan": plan})
    else:
        _print_plan(config, plan)


def _print_plan(config: TrainConfig, plan: dict[str, Any]) -> None:
    from alexnet_cli.training.reporting import duration

    sizes, classes = plan["num_images"], plan["images_per_class"]
    epoch = duration(plan["seconds_per_epoch"])
    num_batches = -(-sizes["train"] // config.batch_size)
    for title, text in (
        ("data", config.data),
        ("classes", len(classes)),
        ("images", ", ".join(f"{sizes[key]:,} {word}" for key, word in _SPLITS.items())),
        ("network", f"{config.model}, {plan['num_parameters']:,} parameters"),
        ("input", f"{plan['crop_size_px']}-px crops of {plan['image_size_px']} px"),
        ("epochs", f"{config.epochs}, recipe {config.recipe}"),
        ("batches", f"{num_batches:,} an epoch, of {config.batch_size} images"),
        ("time", f"about {epoch} an epoch on {plan['device']}, without reading images"),
        ("run", plan["run"]),
    ):
        print(f"{title:<9}{printable(str(text))}")
    width = max(len("class"), *(len(printable(name)) for name in classes))
    print("\n" + "  ".join([f"{'class':<{width}}", *(f"{word:>10}" for word in _SPLITS.values())]))
    for name, images in itertools.islice(classes.items(), _MAX_CLASSES):
        cells = (f"{images[key]:>10,}" for key in _SPLITS)
        print("  ".join([f"{printable(name):<{width}}", *cells]))
    if len(classes) > _MAX_CLASSES:
        print(f"and {len(classes) - _MAX_CLASSES} more; all with --json")


def _finished_run(
    resume: Path | None, parent: Path, *, given: dict[str, Any], with_plots: bool
) -> RunFolder | None:
    """Return the run to resume if nothing is left to do, which is known before PyTorch's import."""
    from alexnet_cli.training.checkpoint import newest_checkpoint

    if resume is None or given or "RANK" in os.environ:
        return None
    run = newest_run(parent) if resume == NEWEST else RunFolder(resume)
    written = [run.config, run.metrics_json, run.card, *([run.metrics_plot] if with_plots else [])]
    if not all(path.is_file() for path in written):
        return None
    try:
        newest = newest_checkpoint(run.checkpoints)
    except CheckpointError:  # `resume_run` reports it
        return None
    return run if newest.state.epoch == newest.config.get("epochs") else None


def _requested_trackers(flags: dict[str, bool]) -> list[str]:
    """Return the trackers whose flag is set, or raise an error if one is not installed."""
    names = [name for name, is_on in flags.items() if is_on]
    if names:
        from alexnet_cli.training.tracking import require_package

        for name in names:
            require_package(name)
    return names


def _launch(processes: int, *, device: str, max_restarts: int) -> None:
    """Run this command on several processes and exit, unless this is one of them."""
    if processes == 1:
        if max_restarts:
            raise UsageError("--max-restarts is for several processes", hint="use --processes 2")
        return
    from alexnet_cli.training.launch import launch_processes

    status = launch_processes(
        sys.argv[1:], num_processes=processes, device=device, max_restarts=max_restarts
    )
    if status is not None:
        raise typer.Exit(status)


def _announce(run: "TrainingRun", checkpoint: "Checkpoint | None", *, quiet: bool) -> None:
    from alexnet_cli.data.run_images import describe_identical

    if checkpoint is not None:
        note(f"resuming {run.folder.path} at step {checkpoint.state.step}", quiet=quiet)
        if checkpoint.state.epoch >= run.config.epochs:
            note(f"it has all its {run.config.epochs} epochs; more with: --epochs N", quiet=quiet)
    note(run.describe(), quiet=quiet)
    if text := describe_identical(run.identical):
        note(text, quiet=quiet)


def _finish(run: "TrainingRun", *, plots: bool, as_json: bool, quiet: bool) -> None:
    """Draw the plots and print the result, on rank 0."""
    if not run.ranks.is_first:
        return
    if plots:
        from alexnet_cli.report.page import plot_trained

        try:
            plot_trained(run.folder, run.val, device=run.device)
        except AlexnetError as error:
            note(f"the run is complete, but its plots could not be drawn: {error.message}")
    _print_result(run.folder, as_json=as_json, quiet=quiet)


def _print_result(run: RunFolder, *, as_json: bool, quiet: bool) -> None:
    from alexnet_cli.cli.evaluate import evaluate_command

    if as_json:
        print_json(json.loads(run.metrics_json.read_text(encoding="utf-8")))
        return
    print_path(run.path)
    paths = [] if run.path.parent == RUNS_FOLDER else [run.path]
    named = "".join(f" {shlex.quote(str(path))}" for path in paths)
    # A run that was resumed may have older exports.
    force = " --force" if list_exports(run.path) else ""
    suggest(
        evaluate_command(paths, run.read_settings()["data"]),
        f"alexnet report{named}",
        f"alexnet export{named}{force}",
        quiet=quiet,
    )
