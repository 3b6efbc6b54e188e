"""One HTML file that needs nothing else: no network, no script, no font from elsewhere.

Cells open by the browser's own popovers, so that there is no script that a hostile class name could
get into; the Content-Security-Policy forbids any.

Writing what people look at: the page, and plots as PNG files.
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

from alexnet_cli import report
from alexnet_cli.data.arrays import ImageSource
from alexnet_cli.errors import AlexnetError
from alexnet_cli.files import atomic_write
from alexnet_cli.models.layers import first_filters
from alexnet_cli.paper.result import Result
from alexnet_cli.report.drawing import save_png, style
from alexnet_cli.report.examine import (
    Examination,
    RunRecord,
    examine,
    find_neighbours,
    num_searched,
    read_run,
    rebuild,
)
from alexnet_cli.report.experiment import ExperimentView, view_experiment
from alexnet_cli.report.images import Sizes, load_parts
from alexnet_cli.report.plots import confusion_figure, filters_figure, metrics_figure
from alexnet_cli.report.views import (
    Comparison,
    Examined,
    RunView,
    compare,
    draw_figures,
    headline,
    view_run,
)
from alexnet_cli.runs import RunFolder

MOST_BYTES = 5_000_000
MOST_RUNS = 6
_PICTURES = ((96, 48, 700), (48, 24, 350))
"""Sides in pixels of pictures, and images behind cells in all; the second for what fills pages with
the first: the noise of six runs does not fill it."""


def render(runs: Sequence[Examined], experiments: Sequence[ExperimentView] = ()) -> bytes:
    """Return the page of one run, or of several side by side, and of experiments.

    Args:
        runs: At most `MOST_RUNS`.
        experiments: What was carried out of the paper's.

    Raises:
        AlexnetError: It would be larger than `MOST_BYTES` with the smallest pictures, too.
    """
    comparison = compare(runs) if len(runs) > 1 else None
    drawings = [draw_figures(run) for run in runs]
    for large_px, small_px, most_in_cells in _PICTURES:
        sizes = Sizes(large_px, small_px, most_in_cells // max(1, len(runs)))
        views = [view_run(run, drawn, sizes) for run, drawn in zip(runs, drawings, strict=True)]
        content = _fill(views, comparison, experiments)
        if len(content) <= MOST_BYTES:
            return content
    raise AlexnetError(
        f"the report would take {len(content):,} bytes, more than {MOST_BYTES:,}",
        hint="report fewer runs at once",
        code="report_too_large",
    )


def _fill(
    views: list[RunView], comparison: Comparison | None, experiments: Sequence[ExperimentView]
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
        headline=headline,
        examine=report.examine,
    )
    return page.encode("utf-8", "backslashreplace")


Told = Callable[[str, int, int], None]
"""Told what is done, of how many images, and how many more of them are done now."""


def examine_run(
    record: RunRecord, number: int, *, device: torch.device, told: Told = lambda *_: None
) -> Examined:
    """Run the best network of a run over its validation images, and over training images.

    Args:
        record: The run.
        number: Its place among the runs of the page, from 0.
        device: Where the network runs.
        told: Told of the progress.
    """
    train, val = load_parts(record)
    network = rebuild(record.best, device=device)
    answers = examine(
        network, record.manifest, val, device=device,
        on_batch=lambda count: told(f"validation images of {record.name}", len(val), count),
    )  # fmt: skip
    searched = num_searched(record.manifest, len(train))
    near = find_neighbours(
        network, record.manifest, val, train, device=device,
        on_batch=lambda count: told(f"training images of {record.name}", searched, count),
    )  # fmt: skip
    label = chr(ord("A") + number)
    filters = first_filters(network)
    return Examined(f"run-{label}", label, record, train, val, answers, near, filters)


def write_page(runs: Sequence[Examined], path: Path, experiments: Sequence[Result] = ()) -> None:
    """Write the page of one run, or of several side by side, and of experiments."""
    views = [view_experiment(result, number) for number, result in enumerate(experiments)]
    atomic_write(path, render(runs, views))


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
    """Write the plots of a run that has just ended, whose validation images are at hand."""
    record = read_run(run.path)
    network = rebuild(record.best, device=device)
    examination = examine(network, record.manifest, val, device=device)
    return write_plots(record, examination, first_filters(network))
