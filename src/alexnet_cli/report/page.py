"""The report: one HTML file without scripts and external files, and plots as PNG files.

Cells of the confusion matrix open as popovers, a feature of HTML. Without scripts a hostile class
name has nothing to inject code into; the Content-Security-Policy forbids scripts in any case.
"""

import base64
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from alexnet_cli.data.arrays import ImageSource
from alexnet_cli.errors import AlexnetError
from alexnet_cli.files import atomic_write
from alexnet_cli.models.layers import first_filters
from alexnet_cli.paper.result import Result
from alexnet_cli.report.drawing import save_png, style
from alexnet_cli.report.examine import (
    DRAW_SEED,
    Examination,
    RunRecord,
    examine,
    find_neighbours,
    num_searched,
    read_run,
    rebuild,
)
from alexnet_cli.report.experiment import ExperimentView, view_experiment
from alexnet_cli.report.images import Sizes, load_images_of
from alexnet_cli.report.plots import confusion_figure, filters_figure, metrics_figure
from alexnet_cli.report.views import (
    ExaminedRun,
    RunComparison,
    RunView,
    compare_runs,
    draw_figures,
    view_run,
)
from alexnet_cli.runs import RunFolder

MAX_BYTES = 5_000_000
MAX_RUNS = 6
_SIZES = ((96, 48, 700), (48, 24, 350))
"""Sides of pictures and number of pictures in cells; with the second, six runs on noise fit."""

Progress = Callable[[str, int, int], None]
"""Called with a task, its number of images, and the number of images just done."""


def examine_run(
    record: RunRecord, number: int, *, device: torch.device, on_progress: Progress = lambda *_: None
) -> ExaminedRun:
    """Run the best network of a run on its validation images, and on training images.

    Args:
        record: The run.
        number: Index among the runs of the page, from 0.
        device: Device of the network.
        on_progress: Called after each batch.
    """
    train, val = load_images_of(record)
    network = rebuild(record.best, device=device)
    answers = examine(
        network, record.manifest, val, device=device,
        on_batch=lambda count: on_progress(f"validation images of {record.name}", len(val), count),
    )  # fmt: skip
    total = num_searched(record.manifest, len(train))
    neighbours = find_neighbours(
        network, record.manifest, val, train, device=device,
        on_batch=lambda count: on_progress(f"training images of {record.name}", total, count),
    )  # fmt: skip
    label = chr(ord("A") + number)
    filters = first_filters(network)
    return ExaminedRun(f"run-{label}", label, record, train, val, answers, neighbours, filters)


def write_page(runs: Sequence[ExaminedRun], path: Path, results: Sequence[Result] = ()) -> None:
    """Write the page of runs and of results of experiments."""
    experiments = [view_experiment(result, number) for number, result in enumerate(results)]
    atomic_write(path, render(runs, experiments))


def render(runs: Sequence[ExaminedRun], experiments: Sequence[ExperimentView] = ()) -> bytes:
    """Return the page of runs, at most `MAX_RUNS`, and of experiments.

    Raises:
        AlexnetError: It would exceed `MAX_BYTES`, even with the smallest pictures.
    """
    comparison = compare_runs(runs) if len(runs) > 1 else None
    figures = [draw_figures(run) for run in runs]
    for large_px, small_px, max_in_cells in _SIZES:
        sizes = Sizes(large_px, small_px, max_in_cells // max(1, len(runs)))
        views = [view_run(run, own, sizes) for run, own in zip(runs, figures, strict=True)]
        content = _fill(views, comparison, experiments)
        if len(content) <= MAX_BYTES:
            return content
    raise AlexnetError(
        f"the report has {len(content):,} bytes, more than {MAX_BYTES:,}",
        hint="report fewer runs at once",
        code="report_too_large",
    )


def _fill(
    views: list[RunView], comparison: RunComparison | None, experiments: Sequence[ExperimentView]
) -> bytes:
    """Fill the template."""
    environment = Environment(
        loader=PackageLoader("alexnet_cli.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    css = environment.get_template("report.css").render()
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    page = environment.get_template("page.html.j2").render(
        css=Markup(css),  # noqa: S704 - a file of this package
        policy=f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'",
        comparison=comparison,
        experiments=experiments,
        runs=views,
        seed=DRAW_SEED,
    )
    return page.encode("utf-8", "backslashreplace")


def write_plots(
    record: RunRecord, examination: Examination, filters_FSS3: NDArray[np.float32]
) -> tuple[Path, ...]:
    """Write `metrics.png`, `confusion.png` and `filters.png` into the run folder."""
    run = record.run
    with style():
        figures = {
            run.metrics_plot: metrics_figure(record.history),
            run.confusion_plot: confusion_figure(examination.confusion),
            run.filters_plot: filters_figure(filters_FSS3)[0],
        }
        for path, figure in figures.items():
            atomic_write(path, save_png(figure))
    return tuple(figures)


def plot_trained(run: RunFolder, val: ImageSource, *, device: torch.device) -> tuple[Path, ...]:
    """Write the plots of a run that has just ended, with its validation images at hand."""
    record = read_run(run.path)
    network = rebuild(record.best, device=device)
    examination = examine(network, record.manifest, val, device=device)
    return write_plots(record, examination, first_filters(network))
