"""The figures of a run: curves, confusions, classes, calibration and filters.

Shape letters: K classes, F filters, S side, 3 = RGB.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from alexnet_cli.evaluation.metrics import Calibration, ClassMetrics
from alexnet_cli.models.build import mosaic, to_unit_range
from alexnet_cli.report.drawing import (
    DASHES,
    FAINT,
    INK,
    PAPER,
    SERIES,
    Panel,
    draw,
    label_epochs,
    plot_labels,
)
from alexnet_cli.training.checkpoint import EpochRow

MAX_CLASSES = 30  # of a matrix or a bar plot; more classes are shown as pairs, or best and worst
_MAX_PAIRS, _MAX_PAIRS_DRAWN = 40, 20
_NUM_BEST_AND_WORST = 15
_NUM_SHADES = 11
_MAX_MARKERS = 25  # with more epochs, not each gets a marker
_FILTER_COLUMNS = 16  # as in the paper's figure 3
_BLUES = LinearSegmentedColormap.from_list("blues", [PAPER, SERIES[5], SERIES[0], "#00304d"])
_LOOKS: list[dict[str, Any]] = [
    {"color": colour, "linestyle": dash, "marker": marker}
    for colour, dash, marker in zip(SERIES, DASHES, "os^DvP", strict=True)
]
_VALIDATION, _TRAINING = _LOOKS[:2]

History: TypeAlias = Sequence[EpochRow]


def best_epoch(history: History) -> EpochRow:
    """Return the epoch with the best validation top-1, the first among equals."""
    return max(history, key=lambda row: row.val_top1)


def metrics_figure(history: History) -> Figure:
    """Return all curves of a run, for `metrics.png`."""
    figure = Figure(figsize=(8.4, 5.4), layout="constrained")
    axes_22 = figure.subplots(2, 2)
    for axes, panel in zip(axes_22.flat, curve_panels(history).values(), strict=True):
        panel(axes)
    return figure


def curve_panels(history: History) -> dict[str, Panel]:
    return {
        "loss": lambda axes: _plot_metric(axes, history, "loss", "loss (nats)"),
        "top1": lambda axes: _plot_metric(axes, history, "top1", "top-1"),
        "lr": lambda axes: _plot_single(axes, history, "learning_rate", "learning rate"),
        "speed": lambda axes: _plot_single(axes, history, "images_per_second", "images/s"),
    }


def comparison_panels(histories: Mapping[str, History]) -> dict[str, Panel]:
    return {
        "top1": lambda axes: _plot_runs(axes, histories, "val_top1", "validation top-1"),
        "loss": lambda axes: _plot_runs(axes, histories, "val_loss", "validation loss (nats)"),
        "train_loss": lambda axes: _plot_runs(
            axes, histories, "train_loss", "training loss (nats)"
        ),
    }


def _plot_metric(axes: Axes, history: History, key: str, title: str) -> str:
    """Plot a metric of training and validation, with a star at the best epoch."""
    best = best_epoch(history)
    value = getattr(best, f"val_{key}")
    label = f"best, epoch {best.epoch}: {_format(value, key)}"
    texts = [
        _plot_line(axes, history, f"train_{key}", "training", _TRAINING),
        _plot_line(axes, history, f"val_{key}", "validation", _VALIDATION),
        label,
    ]
    axes.axvline(best.epoch, color=FAINT, linewidth=0.8)
    axes.plot([best.epoch], [value], "*", markersize=12, color=INK, label=label)
    axes.legend(loc="best")
    label_epochs(axes, title, percent=key == "top1")
    return f"{title}: {'; '.join(texts)}"


def _plot_single(axes: Axes, history: History, column: str, title: str) -> str:
    is_rate, values = column == "learning_rate", [getattr(row, column) for row in history]
    look = {**_VALIDATION, "drawstyle": "steps-mid" if is_rate else "default"}
    text = _plot_line(axes, history, column, title, look)
    if is_rate and 0 < min(values) < max(values) / 20:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
    else:
        axes.set_ylim(0, 1.1 * max(values))
    axes.axvline(best_epoch(history).epoch, color=FAINT, linewidth=0.8)
    label_epochs(axes, title)
    return text


def _plot_runs(axes: Axes, histories: Mapping[str, History], column: str, title: str) -> str:
    """Plot a metric of several runs, each labelled at its end."""
    texts = []
    for (label, history), look in zip(histories.items(), _LOOKS, strict=False):
        texts.append(_plot_line(axes, history, column, f"run {label}", look))
        end = (history[-1].epoch, getattr(history[-1], column))
        axes.annotate(label, end, (5, 0), textcoords="offset points", va="center",
                      color=look["color"], fontweight="bold")  # fmt: skip
    axes.legend()
    label_epochs(axes, title, percent=column == "val_top1")
    return f"{title}: {'; '.join(texts)}"


def _plot_line(axes: Axes, history: History, column: str, label: str, look: dict[str, Any]) -> str:
    """Plot a column by epoch, and return its first and last value as text."""
    epochs = [row.epoch for row in history]
    values = [getattr(row, column) for row in history]
    axes.plot(epochs, values, label=label, markevery=-(-len(epochs) // _MAX_MARKERS), **look)
    first, last = _format(values[0], column), _format(values[-1], column)
    return f"{label} {first} in epoch {epochs[0]}, {last} in epoch {epochs[-1]}"


def _format(value: float, column: str) -> str:
    return f"{value:.1%}" if "top1" in column else f"{value:.4g}"


def shades(counts_KK: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the darkness of each cell, 0–10: the square root of its fraction of the row.

    Mistakes are few compared with right answers: without the root they would all look white.
    """
    totals_K1 = np.maximum(counts_KK.sum(axis=1, keepdims=True), 1)
    shades_KK: NDArray[np.int64] = np.ceil(np.sqrt(counts_KK / totals_K1) * (_NUM_SHADES - 1))
    return shades_KK.astype(np.int64)


def largest_cells(counts_KK: NDArray[np.int64], count: int | None = None) -> list[tuple[int, int]]:
    """Return pairs of a true and a predicted class, the most frequent first."""
    order = np.argsort(-counts_KK, axis=None, kind="stable")[:count]
    return [divmod(place, len(counts_KK)) for place in order.tolist()]


def most_confused(counts_KK: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return pairs of a true class and a wrong prediction, the most frequent first."""
    wrong_KK = counts_KK * (1 - np.eye(len(counts_KK), dtype=np.int64))
    return [pair for pair in largest_cells(wrong_KK, _MAX_PAIRS) if wrong_KK[pair]]


def confusion_figure(classes: tuple[str, ...], counts_KK: NDArray[np.int64]) -> Figure:
    """Return the confusion matrix, or for many classes the pairs most often confused."""
    has_matrix, side = len(classes) <= MAX_CLASSES, 2.6 + 0.42 * len(classes)
    figure = Figure(figsize=(side, side) if has_matrix else (6.4, 6), layout="constrained")
    plot = _plot_matrix if has_matrix else _plot_pairs
    plot(figure.subplots(), plot_labels(classes), counts_KK)
    return figure


def _plot_matrix(axes: Axes, names: list[str], counts_KK: NDArray[np.int64]) -> None:
    shades_KK = shades(counts_KK)
    axes.imshow(shades_KK, cmap=_BLUES, vmin=0, vmax=_NUM_SHADES - 1)
    for true, predicted in zip(*np.nonzero(counts_KK), strict=True):
        ink = PAPER if shades_KK[true, predicted] > 5 else INK
        axes.text(predicted, true, f"{counts_KK[true, predicted]:,}", color=ink, fontsize=9,
                  ha="center", va="center")  # fmt: skip
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    accuracy = counts_KK.trace() / max(1, counts_KK.sum())
    axes.set_title(f"validation images: {accuracy:.1%} right")


def _plot_pairs(axes: Axes, names: list[str], counts_KK: NDArray[np.int64]) -> None:
    pairs = most_confused(counts_KK)[:_MAX_PAIRS_DRAWN]
    bars = axes.barh(range(len(pairs)), [counts_KK[pair] for pair in pairs], color=SERIES[0])
    axes.bar_label(bars, padding=2, fontsize=7)
    labels = [f"{names[true]} → {names[predicted]}" for true, predicted in pairs]
    axes.set_yticks(range(len(pairs)), labels)
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("validation images")
    axes.set_title("most frequent confusions: true class → predicted class")


def class_figure(rows: tuple[ClassMetrics, ...]) -> tuple[Figure, str]:
    """Return bars of precision, recall and F1 of each class, or of the best and the worst."""
    shown = sorted(rows, key=lambda row: -row.f1)
    if len(rows) > MAX_CLASSES:
        shown = [*shown[:_NUM_BEST_AND_WORST], *shown[-_NUM_BEST_AND_WORST:]]

    def panel(axes: Axes) -> str:
        places = np.arange(len(shown))
        series = (("precision", SERIES[5]), ("recall", SERIES[0]), ("f1", SERIES[1]))
        for number, (key, colour) in enumerate(series):
            name = "F1" if key == "f1" else key
            values = [getattr(row, key) for row in shown]
            axes.barh(places + 0.26 * (number - 1), values, height=0.24, color=colour, label=name)
        axes.set_yticks(places, plot_labels(tuple(row.name for row in shown)))
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter("{x:.0%}")
        axes.grid(visible=True, axis="x")
        axes.figure.legend(loc="outside upper center", ncols=3)
        best, worst = shown[0], shown[-1]
        return (f"Precision, recall and F1 of {len(shown)} classes: best F1 {best.f1:.1%} of "
                f"{best.name}, worst {worst.f1:.1%} of {worst.name}")  # fmt: skip

    return draw(panel, height=1.0 + 0.34 * len(shown))


def calibration_figure(calibration: Calibration) -> tuple[Figure, str]:
    """Return the reliability diagram: accuracy by confidence.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", figure 1.
    """

    def panel(axes: Axes) -> str:
        filled = [each for each in calibration.bins if each.num_images]
        accuracy = np.array([each.share_right for each in filled], np.float64)
        confidence = np.array([each.mean_confidence for each in filled], np.float64)
        lows, width = [each.low for each in filled], 1 / len(calibration.bins)
        axes.bar(lows, accuracy, width, align="edge", color=SERIES[5], edgecolor=PAPER,
                 linewidth=0.8, label="accuracy")  # fmt: skip
        for each in filled:
            middle = (each.low + each.high) / 2
            axes.text(middle, 0.015, f"{each.num_images:,}", rotation=90, fontsize=7, ha="center")
        axes.plot(confidence, accuracy, color=SERIES[0], marker="o", linestyle="none",
                  label="mean confidence")  # fmt: skip
        axes.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=1, label="calibrated")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel("confidence: probability of the prediction")
        axes.set_ylabel("accuracy")
        axes.grid(visible=True, color=FAINT)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:.0%}")
        axes.legend(loc="upper left")
        title = f"expected calibration error {calibration.expected_error:.1%}"
        axes.set_title(title)
        return f"Reliability diagram: {title}"

    return draw(panel, height=3.6)


def filters_figure(filters_FSS3: NDArray[np.float32]) -> tuple[Figure, str]:
    """Return the filters side by side, as in the paper's figure 3.

    Source: paper, figure 3: "96 convolutional kernels of size 11×11×3 learned by the first
    convolutional layer".
    """
    count, side = filters_FSS3.shape[:2]
    columns = min(_FILTER_COLUMNS, count)
    picture = mosaic(to_unit_range(filters_FSS3), columns=columns)

    def panel(axes: Axes) -> str:
        axes.imshow(picture, interpolation="nearest")
        axes.set_axis_off()
        axes.set_title(f"{count} filters, {side}×{side}×3")
        rows = -(-count // columns)
        return (f"The {count} filters of the first layer, {side} by {side} pixels each, in {rows} "
                f"rows of {columns}")  # fmt: skip

    return draw(panel, width=6.4, height=0.5 + 6.2 * picture.shape[0] / picture.shape[1])
