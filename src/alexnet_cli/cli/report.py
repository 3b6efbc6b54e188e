"""`alexnet report`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alexnet_cli.cli.options import Device, Json, Quiet
from alexnet_cli.console import note, print_json, print_path, stderr_console

if TYPE_CHECKING:
    from alexnet_cli.report.examine import Progress

EXAMPLES = (
    "alexnet report",
    "alexnet report runs/alexnet-cifar-cifar10 --output report.html",
    "alexnet report runs/first runs/second --output both.html",
    "alexnet report runs/alexnet-cifar-photos --data moved/photos",
    "alexnet report reproduction/results/relu.json",
)

_SEVERAL = Path("report.html")


def command(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="Run folders, compared side by side, and results of reproduce (.json); the newest "
            "run by default.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="HTML file. Default for one run: RUN/report.html, with plots as PNG files; for "
            "several runs or with results: report.html.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Where the images of the runs are now, if their folder was moved."),
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write an HTML report of a run: its training and its network's predictions.

    The file needs no network access and no other file. It shows validation images,
    and training images as their nearest neighbours; the test set is not used.
    """
    from alexnet_cli.errors import UsageError
    from alexnet_cli.files import atomic_write
    from alexnet_cli.paper.result import read_result
    from alexnet_cli.report.examine import examine_run, read_run
    from alexnet_cli.report.page import MAX_RUNS, render, write_plots
    from alexnet_cli.run_folder import newest_run
    from alexnet_cli.training.device import describe_device, resolve_device

    named = runs or [newest_run().path]
    results = [path for path in named if path.suffix == ".json"]
    folders = [path for path in named if path.suffix != ".json"]
    if len(folders) > MAX_RUNS:
        raise UsageError(
            f"{len(folders)} runs are too many for one page", hint=f"name at most {MAX_RUNS}"
        )
    if output is not None and output.is_dir():
        raise UsageError(
            f"{output} is a folder", hint=f"name a file: --output {output}/report.html"
        )
    experiments = [read_result(path) for path in results]
    torch_device = resolve_device(device)
    records = [read_run(folder, warn=note) for folder in folders]
    for record in records:
        note(f"reporting {record.best.folder} with {describe_device(torch_device)}", quiet=quiet)
    with _progress_bars(quiet=quiet) as on_progress:
        examined = [
            examine_run(record, device=torch_device, data=data, on_progress=on_progress)
            for record in records
        ]
    is_single = len(records) == 1 and not experiments
    path = output or (records[0].run.report if is_single else _SEVERAL)
    atomic_write(path, render(examined, experiments))
    plots: tuple[Path, ...] = ()
    if output is None and is_single:
        plots = write_plots(records[0], examined[0].examination, examined[0].filters_FSS3)
    if json:
        print_json({"path": str(path), "plots": [str(plot) for plot in plots]})
    else:
        print_path(path)


@contextmanager
def _progress_bars(*, quiet: bool) -> "Iterator[Progress]":
    """Provide a callback that shows progress bars on a terminal."""
    from rich.progress import Progress

    console = stderr_console()
    hidden = quiet or not console.is_terminal
    tasks = {}
    with Progress(console=console, disable=hidden, transient=True) as progress:

        def advance(task: str, total: int, just_done: int) -> None:
            if task not in tasks:
                tasks[task] = progress.add_task(task, total=total)
            progress.advance(tasks[task], just_done)

        yield advance
