"""The figures of a run: curves, confusions, classes, calibration and filters.

Shape letters: K classes, F filters, S side, 3 = RGB.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter
from numpy.typing import NDArray

from alexnet_cli.evaluation.metrics import Calibration, ClassMetrics
from alexnet_cli.models.layers import mosaic, to_unit_range
from alexnet_cli.report.drawing import (
    DASHES,
    FAINT,
    INK,
    MARKERS,
    PAPER,
    SERIES,
    Panel,
    draw,
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
_TRAIN: dict[str, Any] = {"color": SERIES[1], "linestyle": "--", "marker": "s"}
_VALIDATION: dict[str, Any] = {"color": SERIES[0], "linestyle": "-", "marker": "o"}

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
    """Return the curves of a run by name: loss, top1, lr, speed."""
    return {
        "loss": lambda axes: _two_curves(axes, history, "loss", "loss (nats)"),
        "top1": lambda axes: _two_curves(axes, history, "top1", "top-1"),
        "lr": lambda axes: _one_curve(axes, history, "learning_rate", "learning rate"),
        "speed": lambda axes: _one_curve(axes, history, "images_per_second", "images/s"),
    }


def _two_curves(axes: Axes, history: History, key: str, title: str) -> str:
    """Draw a metric of training and validation, and mark the best epoch."""
    epochs, best = [row.epoch for row in history], best_epoch(history)
    ends = []
    for prefix, name, look in (("train", "training", _TRAIN), ("val", "validation", _VALIDATION)):
        values = [float(getattr(row, f"{prefix}_{key}")) for row in history]
        axes.plot(epochs, values, markevery=_marker_step(epochs), label=name, **look)
        first, last = _format(values[0], key), _format(values[-1], key)
        ends.append(f"{name} {first} in the first epoch and {last} in the last")
    value = float(getattr(best, f"val_{key}"))
    axes.axvline(best.epoch, color=FAINT, linewidth=0.8)
    axes.plot([best.epoch], [value], marker="*", markersize=12, color=INK, linestyle="none",
              label=f"best, epoch {best.epoch}: {_format(value, key)}")  # fmt: skip
    axes.legend(loc="best")
    _finish(axes, title, percent=key == "top1")
    return (f"{title} of {len(epochs)} epochs: {'; '.join(ends)}; {_format(value, key)} in the "
            f"best epoch, {best.epoch}")  # fmt: skip


def _one_curve(axes: Axes, history: History, key: str, title: str) -> str:
    epochs = [row.epoch for row in history]
    values = [float(getattr(row, key)) for row in history]
    look = {**_VALIDATION, "drawstyle": "steps-mid" if key == "learning_rate" else "default"}
    axes.plot(epochs, values, markevery=_marker_step(epochs), **look)
    low, high = min(values), max(values)
    if key == "learning_rate" and 0 < low < high / 20:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(0, high * 1.1)
    axes.axvline(best_epoch(history).epoch, color=FAINT, linewidth=0.8)
    _finish(axes, title, percent=False)
    return f"{title} of {len(epochs)} epochs: between {low:.4g} and {high:.4g}"


def comparison_panels(histories: Mapping[str, History]) -> dict[str, Panel]:
    """Return curves of several runs, given by label, in one plot each: top1, loss, train_loss."""
    return {
        "top1": _comparison(histories, lambda row: row.val_top1, "validation top-1", "top1"),
        "loss": _comparison(histories, lambda row: row.val_loss, "validation loss (nats)", "loss"),
        "train_loss": _comparison(
            histories, lambda row: row.train_loss, "training loss (nats)", "loss"
        ),
    }


def _comparison(
    histories: Mapping[str, History], value_of: Callable[[EpochRow], float], title: str, key: str
) -> Panel:
    def panel(axes: Axes) -> str:
        ends = []
        runs = zip(histories.items(), SERIES, DASHES, MARKERS, strict=False)
        for (label, history), colour, dash, marker in runs:
            epochs, values = [row.epoch for row in history], [value_of(row) for row in history]
            axes.plot(epochs, values, color=colour, linestyle=dash, marker=marker, label=label,
                      markevery=_marker_step(epochs))  # fmt: skip
            axes.annotate(label, (epochs[-1], values[-1]), (5, 0), textcoords="offset points",
                          va="center", color=colour, fontweight="bold")  # fmt: skip
            ends.append(f"run {label} ends at {_format(values[-1], key)} in epoch {epochs[-1]}")
        axes.legend(title="run")
        _finish(axes, title, percent=key == "top1")
        return f"{title}: {'; '.join(ends)}"

    return panel


def _marker_step(epochs: list[int]) -> int:
    return -(-len(epochs) // _MAX_MARKERS)


def _format(value: float, key: str) -> str:
    return f"{value:.1%}" if key == "top1" else f"{value:.3f}"


def _finish(axes: Axes, title: str, *, percent: bool) -> None:
    axes.set_title(title, loc="left")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.margins(x=0.06)
    axes.grid(visible=True)
    if percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


@dataclass(frozen=True)
class Confusion:
    """Counts by true class (rows) and predicted class (columns), int64, shape (K, K)."""

    classes: tuple[str, ...]
    counts_KK: NDArray[np.int64]

    @property
    def shades_KK(self) -> NDArray[np.int64]:  # noqa: N802 - a shape suffix
        """Darkness of each cell, 0–10: the square root of its share of the row.

        Mistakes are few compared with right answers: without the root they would all look white.
        """
        totals_K1 = np.maximum(self.counts_KK.sum(axis=1, keepdims=True), 1)
        roots_KK = np.sqrt(self.counts_KK / totals_K1)
        shades_KK: NDArray[np.int64] = np.ceil(roots_KK * (_NUM_SHADES - 1)).astype(np.int64)
        return shades_KK

    def most_confused(self) -> list[tuple[int, int]]:
        """Return pairs of a true class and a wrong prediction, the most frequent first."""
        wrong_KK = self.counts_KK.copy()
        np.fill_diagonal(wrong_KK, 0)
        order = np.argsort(-wrong_KK, axis=None, kind="stable")[:_MAX_PAIRS]
        pairs = zip(*np.unravel_index(order, wrong_KK.shape), strict=True)
        return [(int(true), int(found)) for true, found in pairs if wrong_KK[true, found]]


def confusion_figure(confusion: Confusion) -> Figure:
    """Return the confusion matrix, or for many classes the pairs most often confused."""
    if len(confusion.classes) > MAX_CLASSES:
        return draw(lambda axes: _pairs(axes, confusion), width=6.4, height=6)[0]
    side = 2.6 + 0.42 * len(confusion.classes)
    return draw(lambda axes: _matrix(axes, confusion), width=side, height=side)[0]


def _matrix(axes: Axes, confusion: Confusion) -> str:
    counts_KK, shades_KK = confusion.counts_KK, confusion.shades_KK
    axes.imshow(shades_KK, cmap=_BLUES, vmin=0, vmax=_NUM_SHADES - 1)
    for true, predicted in zip(*np.nonzero(counts_KK), strict=True):
        ink = PAPER if shades_KK[true, predicted] > 5 else INK
        axes.text(predicted, true, f"{counts_KK[true, predicted]:,}", color=ink, fontsize=9,
                  ha="center", va="center")  # fmt: skip
    names = plot_labels(confusion.classes)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    accuracy = counts_KK.trace() / max(1, counts_KK.sum())
    axes.set_title(f"validation images: {accuracy:.1%} right", loc="left")
    return f"Confusion matrix of {len(names)} classes"


def _pairs(axes: Axes, confusion: Confusion) -> str:
    pairs = confusion.most_confused()[:_MAX_PAIRS_DRAWN]
    names = plot_labels(confusion.classes)
    bars = axes.barh(range(len(pairs)), [confusion.counts_KK[pair] for pair in pairs],
                     color=SERIES[0])  # fmt: skip
    axes.bar_label(bars, padding=2, fontsize=7)
    labels = [f"{names[true]} → {names[predicted]}" for true, predicted in pairs]
    axes.set_yticks(range(len(pairs)), labels)
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("validation images")
    axes.set_title("most frequent confusions: true class → predicted class", loc="left")
    return f"The {len(pairs)} pairs of classes most often confused"


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
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
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
            axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.legend(loc="upper left")
        title = f"expected calibration error {calibration.expected_error:.1%}"
        axes.set_title(title, loc="left")
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
        axes.set_title(f"{count} filters, {side}×{side}×3", loc="left")
        rows = -(-count // columns)
        return (f"The {count} filters of the first layer, {side} by {side} pixels each, in {rows} "
                f"rows of {columns}")  # fmt: skip

    return draw(panel, width=6.4, height=0.5 + 6.2 * picture.shape[0] / picture.shape[1])
