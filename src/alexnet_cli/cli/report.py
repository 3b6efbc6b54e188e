"""`alexnet report`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alexnet_cli.cli.options import Device, Json, Quiet
from alexnet_cli.console import note, print_json, stderr_console

if TYPE_CHECKING:
    from alexnet_cli.report.page import Told

EXAMPLES = (
    "alexnet report",
    "alexnet report runs/alexnet-cifar-cifar10 --output report.html",
    "alexnet report runs/first runs/second --output both.html",
    "alexnet report reproduction/results/relu.json",
)

_SEVERAL = Path("report.html")


def command(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="Run folders, shown side by side, and results of reproduce (.json); the newest "
            "run by default.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="HTML file; by default RUN/report.html with plots as PNG files beside it, of "
            "several runs, or with results, report.html.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write one HTML file that shows how a run went and what its network does.

    It needs no network and no other file. It has validation images, and training
    images as their nearest neighbours; the test set is not touched.
    """
    from alexnet_cli.errors import UsageError
    from alexnet_cli.paper.result import read_result
    from alexnet_cli.report.examine import read_run
    from alexnet_cli.report.page import MOST_RUNS, examine_run, write_page, write_plots
    from alexnet_cli.runs import newest_run
    from alexnet_cli.training.device import describe_device, resolve_device

    named = runs or [newest_run().path]
    results = [path for path in named if path.suffix == ".json"]
    folders = [path for path in named if path.suffix != ".json"]
    if len(folders) > MOST_RUNS:
        raise UsageError(
            f"{len(folders)} runs are too many for one page", hint=f"name at most {MOST_RUNS}"
        )
    if output is not None and output.is_dir():
        raise UsageError(
            f"{output} is a folder", hint=f"name a file: --output {output}/report.html"
        )
    experiments = [read_result(path) for path in results]
    chosen = resolve_device(device)
    records = [read_run(folder, warn=note) for folder in folders]
    for record in records:
        note(f"reporting {record.best.folder} with {describe_device(chosen)}", quiet=quiet)
    with _progress(quiet=quiet) as told:
        examined = [
            examine_run(record, number, device=chosen, told=told)
            for number, record in enumerate(records)
        ]
    alone = len(records) == 1 and not experiments
    path = output or (records[0].run.report if alone else _SEVERAL)
    write_page(examined, path, experiments)
    plots: tuple[Path, ...] = ()
    if output is None and alone:
        plots = write_plots(records[0], examined[0].examination, examined[0].filters_FSS3)
    if json:
        print_json({"path": str(path), "plots": [str(plot) for plot in plots]})
    else:
        print(path)


@contextmanager
def _progress(*, quiet: bool) -> "Iterator[Told]":
    """Provide what is told of images that are done: bars on a terminal, nothing elsewhere."""
    from rich.progress import Progress

    console = stderr_console()
    hidden = quiet or not console.is_terminal
    tasks = {}
    with Progress(console=console, disable=hidden, transient=True) as progress:

        def told(what: str, total: int, done_now: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.advance(tasks[what], done_now)

        yield told
