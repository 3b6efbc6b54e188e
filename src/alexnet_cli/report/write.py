"""Writing what people look at: the page, and plots as PNG files."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet_cli.data.arrays import ImageSource
from alexnet_cli.files import atomic_write
from alexnet_cli.models.filters import first_filters
from alexnet_cli.report.class_plots import confusion_figure
from alexnet_cli.report.curves import metrics_figure
from alexnet_cli.report.drawing import save_png, style
from alexnet_cli.report.examine import Examination, examine, find_neighbours, num_searched, rebuild
from alexnet_cli.report.experiment import view_experiment
from alexnet_cli.report.filters import filters_figure
from alexnet_cli.report.images import load_parts
from alexnet_cli.report.page import render
from alexnet_cli.report.record import RunRecord, read_run
from alexnet_cli.report.views import Examined
from alexnet_cli.reproduce.result import Result
from alexnet_cli.runs import RunFolder

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
