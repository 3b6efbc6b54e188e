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
from matplotlib.axes import Axes
from numpy.typing import NDArray

from alexnet_cli.data.arrays import ImageSource
from alexnet_cli.errors import AlexnetError
from alexnet_cli.files import atomic_write
from alexnet_cli.models.build import first_filters
from alexnet_cli.paper.experiments import (
    TRAIN_ERROR,
    Claim,
    ClaimKind,
    Experiment,
    Measure,
    Quantity,
    find_experiment,
)
from alexnet_cli.paper.result import LOG_COLUMNS, FinishedRun, Result, mean_interval
from alexnet_cli.paper.tables import claim_table, describe_protocol, run_table
from alexnet_cli.report.drawing import (
    DASHES,
    FAINT,
    INK,
    SERIES,
    Panel,
    draw,
    label_epochs,
    save_png,
    style,
    to_svg,
)
from alexnet_cli.report.examine import (
    DRAW_SEED,
    Examination,
    ExaminedRun,
    RunRecord,
    examine,
    read_run,
)
from alexnet_cli.report.plots import confusion_figure, filters_figure, metrics_figure
from alexnet_cli.report.views import Sizes, compare_runs, draw_figures, view_run
from alexnet_cli.run_folder import RunFolder
from alexnet_cli.training.open_model import rebuild_model
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
    network = rebuild_model(record.best, device=device)
    examination = examine(network, record.manifest, val, device=device)
    return write_plots(record, examination, first_filters(network))


def view_experiment(result: Result, number: int) -> dict[str, Any]:
    """Return the content of a result's section; `number` counts the sections of the page from 0."""
    experiment, key = find_experiment(result.experiment), f"experiment-{number}"
    with style():
        panel = experiment_panel(experiment, result)
        figure = to_svg(*draw(panel, width=6.4, height=3.4), name=key)
    claim_headings, claims = claim_table(experiment, result)
    run_headings, runs = run_table(experiment, result)
    return {
        "key": key,
        "experiment": experiment,
        "has_tests": any(quantity.measure.num_views for quantity in experiment.quantities),
        "protocol": describe_protocol(experiment, result),
        "figure": figure,
        "claim_headings": claim_headings,
        "claims": claims,
        "run_headings": run_headings,
        "runs": runs,
        "command": result.command,
    }


def experiment_panel(experiment: Experiment, result: Result) -> Panel:
    """Return the plot of the paper, or each seed's test error with the published one."""
    if {quantity.measure for quantity in experiment.quantities} == {Measure.EPOCHS}:
        return lambda axes: _training_errors(axes, experiment, result.runs)
    return lambda axes: _test_errors(axes, experiment, result)


def _training_errors(axes: Axes, experiment: Experiment, runs: Sequence[FinishedRun]) -> str:
    """Draw figure 1: training error by epoch, a line for each seed."""
    accuracy_column = LOG_COLUMNS.index("train_top1")
    texts = []
    for arm, colour, dash in zip(experiment.arms, SERIES, DASHES, strict=False):
        own = [run for run in runs if run.arm == arm]
        for number, run in enumerate(own):
            middles = [row[0] - 0.5 for row in run.log]
            errors = [1 - row[accuracy_column] for row in run.log]
            label = arm if number == 0 else None
            axes.plot(middles, errors, color=colour, linestyle=dash, linewidth=1.2, label=label)
        reached = [run.epochs_to_train_error for run in own if run.epochs_to_train_error]
        epochs = ", ".join(f"{each:.1f}" for each in reached)
        outcome = f"reaches it after {epochs} epochs" if epochs else "has not reached it"
        texts.append(f"{arm} {outcome}")
    axes.axhline(TRAIN_ERROR, color=FAINT, linewidth=0.8)
    axes.set_ylim(0, None)
    label_epochs(axes, "training error, a line for each seed", percent=True)
    if runs:
        axes.legend()
    return f"training error by epoch, 25 % marked: {'; '.join(texts)}"


def _test_errors(axes: Axes, experiment: Experiment, result: Result) -> str:
    """Draw a dot for each seed, the interval of their mean, and the published error."""
    quantities, texts = experiment.quantities, []
    for place, quantity in enumerate(quantities):
        errors = list(result.values(quantity).values())
        axes.plot(errors, [place] * len(errors), "o", color=SERIES[0], alpha=0.7)
        interval = mean_interval(errors)
        if interval:
            axes.plot(interval, (place - 0.25,) * 2, color=SERIES[0], marker="|")
        text = ", ".join(f"{error:.1%}" for error in errors) or "not measured yet"
        published = _published_error(experiment.claims, quantity)
        if published is not None:
            axes.plot([published], [place], marker="D", color=SERIES[1], linestyle="none")
            text += f", published {published:.1%}"
        texts.append(f"{_quantity_label(quantity)} {text}")
    axes.plot([], [], "o", color=SERIES[0], label="a seed")
    axes.plot([], [], color=SERIES[0], marker="|", label="95 % of the mean")
    axes.plot([], [], "D", color=SERIES[1], label="published")
    axes.set_yticks(
        range(len(quantities)), [_quantity_label(each) for each in quantities], color=INK
    )
    axes.set_ylim(len(quantities) - 0.5, -0.75)
    axes.set_title("test error")
    axes.xaxis.set_major_formatter("{x:.1%}")
    axes.grid(visible=True, axis="x")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return f"test errors: {'; '.join(texts)}"


def _published_error(claims: Sequence[Claim], quantity: Quantity) -> float | None:
    """Return the published error, the middle of a claim's region."""
    for claim in claims:
        low, high = claim.region
        if claim.quantity == quantity and claim.kind is ClaimKind.LEVEL:
            return (low + high) / 2 if low > 0 else high
    return None


def _quantity_label(quantity: Quantity) -> str:
    views = quantity.measure.num_views
    return quantity.arm if views == 1 else f"{quantity.arm}, {views} views"
