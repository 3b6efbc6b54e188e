"""The report: one HTML file without scripts and external files, and plots as PNG files.

Cells of the confusion matrix open as popovers, a feature of HTML. Without scripts a hostile class
name has nothing to inject code into; the Content-Security-Policy forbids scripts in any case.
"""

import base64
import hashlib
import shlex
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
    ExaminedRun,
    RunRecord,
    examine,
    read_run,
    rebuild,
)
from alexnet_cli.report.experiment import view_experiment
from alexnet_cli.report.plots import confusion_figure, filters_figure, metrics_figure
from alexnet_cli.report.views import Sizes, compare_runs, draw_figures, view_run
from alexnet_cli.run_folder import RunFolder
from alexnet_cli.training.reporting import duration

MAX_BYTES = 5_000_000
MAX_RUNS = 6
_SIZES = ((96, 48, 700), (48, 24, 350))
"""Sides of pictures and number of pictures in cells; with the second, six runs on noise fit."""


def render(runs: Sequence[ExaminedRun], results: Sequence[Result] = ()) -> bytes:
    """Return the page of runs, at most `MAX_RUNS`, and of results of experiments.

    Raises:
        AlexnetError: It would exceed `MAX_BYTES`, even with the smallest pictures.
    """
    labelled = dict(zip(string.ascii_uppercase, runs, strict=False))
    figures = {label: draw_figures(run, label) for label, run in labelled.items()}
    context = {
        "experiments": [view_experiment(result, number) for number, result in enumerate(results)],
        "comparison": compare_runs(labelled) if len(runs) > 1 else None,
        "seed": DRAW_SEED,
    }
    for large_px, small_px, max_in_cells in _SIZES:
        sizes = Sizes(large_px, small_px, max_in_cells // max(1, len(runs)))
        views = [view_run(run, label, figures[label], sizes) for label, run in labelled.items()]
        content = _fill_template({**context, "runs": views, "sizes": sizes})
        if len(content) <= MAX_BYTES:
            return content
    raise AlexnetError(
        f"the report has {len(content):,} bytes, more than {MAX_BYTES:,}",
        hint="report fewer runs at once",
        code="report_too_large",
    )


def _fill_template(context: dict[str, Any]) -> bytes:
    environment = Environment(
        loader=PackageLoader("alexnet_cli.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        duration=duration,
        percent=lambda share, digits=1: f"{share:.{digits}%}",
        quote=lambda path: shlex.quote(str(path)),
        thousands="{:,}".format,
    )
    css = environment.get_template("report.css").render()
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    page = environment.get_template("page.html.j2").render(
        context,
        css=Markup(css),  # noqa: S704 - a file of this package
        policy=f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'",
    )
    return page.encode("utf-8", "backslashreplace")


def write_plots(
    record: RunRecord, examination: Examination, filters_FSS3: NDArray[np.float32]
) -> tuple[Path, ...]:
    """Write `metrics.png`, `confusion.png` and `filters.png` into the run folder."""
    run, classes = record.run, record.manifest.classes
    with style():
        figures = {
            run.metrics_plot: metrics_figure(record.history),
            run.confusion_plot: confusion_figure(classes, examination.counts_KK),
            run.filters_plot: filters_figure(filters_FSS3)[0],
        }
        for path, figure in figures.items():
            atomic_write(path, save_png(figure))
    return tuple(figures)


def plot_trained(run: RunFolder, val: ImageSource, *, device: torch.device) -> tuple[Path, ...]:
    """Write the plots of a run that has just ended, from its loaded validation images."""
    record = read_run(run.path)
    network = rebuild(record.best, device=device)
    examination = examine(network, record.manifest, val, device=device)
    return write_plots(record, examination, first_filters(network))
