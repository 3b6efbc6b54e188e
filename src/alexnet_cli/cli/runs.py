"""`alexnet runs`."""

import csv
import json as json_text
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from alexnet_cli.cli.options import Json
from alexnet_cli.console import note, print_json, print_table
from alexnet_cli.errors import AlexnetError
from alexnet_cli.run_folder import (
    RUNS_FOLDER,
    RunFolder,
    differing_entries,
    list_exports,
    list_runs,
    no_run_error,
)

EXAMPLES = (
    "alexnet runs",
    "alexnet runs first second",
    "alexnet runs --json",
)


@dataclass(frozen=True)
class RunSummary:
    """A run as the list shows it; None where something is not known yet."""

    path: str
    model: str
    data: str
    recipe: str
    epochs_done: int
    epochs: int
    stopped_early: bool
    best_val_top1: float | None
    test_top1: float | None  # of the last `alexnet evaluate`
    exports: tuple[str, ...]
    num_bytes: int


def command(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="Two or more run folders, or their names: show the settings that differ.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the run folders.")
    ] = RUNS_FOLDER,
    json: Json = False,
) -> None:
    """List the runs of a folder, newest first; or the settings in which some differ."""
    if runs:
        _show_differences([_find(name, output) for name in runs], as_json=json)
        return
    summaries = _summaries(output)
    if json:
        print_json([asdict(summary) for summary in summaries])
        return
    if not summaries:
        raise no_run_error(output)
    print_table(_COLUMNS, [_cells(summary) for summary in summaries], right=_NUMBERS)


_COLUMNS = ("run", "network", "data", "recipe", "epochs", "val acc", "test acc", "exports", "size")
_NUMBERS = ("epochs", "val acc", "test acc", "size")


def _cells(run: RunSummary) -> tuple[str, ...]:
    def share(value: float | None) -> str:
        return "" if value is None else f"{value:.2%}"

    return (
        Path(run.path).name,
        run.model,
        Path(run.data).name,
        run.recipe,
        f"{run.epochs_done}/{run.epochs}" + (", stopped" if run.stopped_early else ""),
        share(run.best_val_top1),
        share(run.test_top1),
        " ".join(run.exports),
        f"{run.num_bytes / 1e6:,.0f} MB",
    )


def _summaries(parent: Path) -> list[RunSummary]:
    """Return the runs of a folder, newest first; a note names those that cannot be read."""
    summaries = []
    for run in list_runs(parent):
        try:
            summaries.append(_summary(run))
        except (AlexnetError, OSError, ValueError, KeyError) as error:
            note(f"{run.path} is left out: it cannot be read ({error})")
    return summaries


def _summary(run: RunFolder) -> RunSummary:
    config = run.read_settings()
    rows = []
    if run.metrics_csv.is_file():
        rows = list(csv.DictReader(run.metrics_csv.read_text(encoding="utf-8").splitlines()))
    result, test = _read_json(run.metrics_json), _read_json(run.test_result)
    return RunSummary(
        path=str(run.path),
        model=config["model"],
        data=config["data"],
        recipe=config["recipe"],
        epochs_done=len(rows),
        epochs=config["epochs"],
        stopped_early=result.get("stopped_early", False),
        best_val_top1=max((float(row["val_top1"]) for row in rows), default=None),
        test_top1=float(test["top1"]) if test else None,
        exports=tuple(path.name for path in list_exports(run.path)),
        num_bytes=sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file()),
    )


def _find(name: str, parent: Path) -> RunFolder:
    """Return the run of a path, or of a name below `parent`."""
    for path in (Path(name), parent / name):
        if RunFolder(path).config.is_file():
            return RunFolder(path)
    raise AlexnetError(
        f"{name} is not a run folder, nor is {parent / name}",
        hint="list the runs with: alexnet runs",
        code="not_a_run",
    )


def _read_json(path: Path) -> dict[str, Any]:
    return dict(json_text.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _show_differences(runs: list[RunFolder], *, as_json: bool) -> None:
    """Print the settings in which runs differ, a column for each run."""
    differing = differing_entries([run.read_settings() for run in runs])
    if as_json:
        paths = [str(run.path) for run in runs]
        print_json({name: dict(zip(paths, row, strict=True)) for name, row in differing.items()})
        return
    if not differing:
        note("all settings are the same")
        return
    rows = [(name, *("" if v is None else str(v) for v in row)) for name, row in differing.items()]
    print_table(("setting", *(run.path.name for run in runs)), rows)
