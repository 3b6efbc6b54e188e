"""Which classes are taken for which others. Shape letters: K classes.

How training went, epoch by epoch.

How a network does by class, and how far its probabilities can be trusted.

Shape letters: K classes.

What the first layer looks for. Shape letters: F filters, S side, 3 = RGB.
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
from alexnet_cli.report.drawing import FAINT, INK, PAPER, SERIES, Panel, draw, labelled, line_styles
from alexnet_cli.training.checkpoint import EpochRow

MOST_CLASSES = 30  # in a table; of more classes, the pairs most often confused are shown
NUM_SHADES = 11
_MOST_PAIRS = 40


@dataclass(frozen=True)
class Confusion:
    """Counts by true class (rows) and predicted class (columns), int64, shape (K, K)."""

    classes: tuple[str, ...]
    counts_KK: NDArray[np.int64]

    @property
    def share_right(self) -> float:
        """Share of all images that are right, 0–1."""
        return float(self.counts_KK.trace() / max(1, self.counts_KK.sum()))


@dataclass(frozen=True)
class Pair:
    """Images of one class that were taken for another."""

    true: int
    predicted: int
    count: int
    share: float


def shades(confusion: Confusion) -> NDArray[np.int64]:
    """Return how dark each cell is, 0–10: the square root of its share of its row.

    The root, because mistakes are few beside what is right, and would all look white.
    """
    counts = confusion.counts_KK
    share_KK = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shades_KK: NDArray[np.int64] = np.ceil(np.sqrt(share_KK) * (NUM_SHADES - 1)).astype(np.int64)
    return shades_KK


def confused_pairs(confusion: Confusion) -> list[Pair]:
    """Return the pairs most often confused, at most 40, the most frequent first."""
    counts = confusion.counts_KK
    wrong_KK = counts.copy()
    np.fill_diagonal(wrong_KK, 0)
    order = np.argsort(-wrong_KK, axis=None, kind="stable")[:_MOST_PAIRS]
    totals = np.maximum(counts.sum(axis=1), 1)
    return [
        Pair(int(true), int(predicted), int(count), float(count / totals[true]))
        for true, predicted in zip(*np.unravel_index(order, counts.shape), strict=True)
        if (count := wrong_KK[true, predicted])
    ]


History: TypeAlias = Sequence[EpochRow]
_MOST_MARKERS = 25  # epochs with a marker each; of more, the line alone is clearer
_TRAIN: dict[str, Any] = {"color": SERIES[1], "linestyle": "--", "marker": "s"}
_VALIDATION: dict[str, Any] = {"color": SERIES[0], "linestyle": "-", "marker": "o"}


def best_of(history: History) -> EpochRow:
    """Return the epoch of the best validation top-1, the first among equals."""
    return max(history, key=lambda row: row.val_top1)


def curve_panels(history: History) -> dict[str, Panel]:
    """Return the curves of a run by name: loss, top1, rate, speed."""
    return {
        "loss": lambda axes: _two_curves(axes, history, "loss", "loss (nats)"),
        "top1": lambda axes: _two_curves(axes, history, "top1", "top-1"),
        "rate": lambda axes: _one_curve(axes, history, "learning_rate", "learning rate"),
        "speed": lambda axes: _one_curve(axes, history, "images_per_second", "images/s"),
    }


def metrics_figure(history: History) -> Figure:
    """Return all curves of a run, as `metrics.png` has them."""
    figure = Figure(figsize=(8.4, 5.4), layout="constrained")
    axes_22 = figure.subplots(2, 2)
    for axes, panel in zip(axes_22.flat, curve_panels(history).values(), strict=True):
        panel(axes)
    return figure


def _two_curves(axes: Axes, history: History, key: str, title: str) -> str:
    """Draw training and validation."""
    epochs, best = [row.epoch for row in history], best_of(history)
    ends = []
    for part, word, look in (("train", "training", _TRAIN), ("val", "validation", _VALIDATION)):
        values = [float(getattr(row, f"{part}_{key}")) for row in history]
        axes.plot(epochs, values, markevery=_markers(len(epochs)), label=word, **look)
        ends.append(f"{word} {_said(values[0], key)} in the first epoch and "
                    f"{_said(values[-1], key)} in the last")  # fmt: skip
    value = float(getattr(best, f"val_{key}"))
    _mark_best(axes, best.epoch, value, f"epoch {best.epoch}: {_said(value, key)}")
    axes.legend(loc="best")
    _finish(axes, title, percent=key == "top1")
    return (f"{title} of {len(history)} epochs: {'; '.join(ends)}; {_said(value, key)} in the best "
            f"epoch, {best.epoch}")  # fmt: skip


def _one_curve(axes: Axes, history: History, key: str, title: str) -> str:
    epochs = [row.epoch for row in history]
    values = [float(getattr(row, key)) for row in history]
    look = {**_VALIDATION, "drawstyle": "steps-mid" if key == "learning_rate" else "default"}
    axes.plot(epochs, values, markevery=_markers(len(epochs)), **look)
    low, high = min(values), max(values)
    if key == "learning_rate" and 0 < low < high / 20:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(0, high * 1.1)
    axes.axvline(best_of(history).epoch, color=FAINT, linewidth=0.8)
    _finish(axes, title, percent=False)
    return f"{title} of {len(history)} epochs: between {low:.4g} and {high:.4g}"


def compared_panels(histories: Mapping[str, History]) -> dict[str, Panel]:
    """Return curves of several runs over each other, by name: top1, loss, train_loss.

    Args:
        histories: By the label of the run.
    """
    return {
        "top1": _compared(histories, lambda row: row.val_top1, "validation top-1", percent=True),
        "loss": _compared(histories, lambda row: row.val_loss, "validation loss (nats)"),
        "train_loss": _compared(histories, lambda row: row.train_loss, "training loss (nats)"),
    }


def _compared(
    histories: Mapping[str, History],
    value_of: Callable[[EpochRow], float],
    title: str,
    *,
    percent: bool = False,
) -> Panel:
    def panel(axes: Axes) -> str:
        words = []
        for (label, history), look in zip(histories.items(), line_styles(), strict=False):
            epochs, values = [row.epoch for row in history], [value_of(row) for row in history]
            axes.plot(epochs, values, markevery=_markers(len(epochs)), label=label, **look)
            axes.annotate(label, (epochs[-1], values[-1]), (5, 0), textcoords="offset points",
                          va="center", color=look["color"], fontweight="bold")  # fmt: skip
            said = _said(values[-1], "top1" if percent else "loss")
            words.append(f"run {label} ends at {said} after {len(history)} epochs")
        axes.legend(title="run")
        _finish(axes, title, percent=percent)
        return f"{title}: {'; '.join(words)}"

    return panel


def _markers(num_epochs: int) -> int:
    return -(-num_epochs // _MOST_MARKERS)


def _said(value: float, key: str) -> str:
    return f"{value:.1%}" if key == "top1" else f"{value:.3f}"


def _mark_best(axes: Axes, epoch: int, value: float, text: str) -> None:
    axes.axvline(epoch, color=FAINT, linewidth=0.8)
    axes.plot([epoch], [value], marker="*", markersize=12, color=INK, linestyle="none",
              label=f"best, {text}")  # fmt: skip


def _finish(axes: Axes, title: str, *, percent: bool) -> None:
    axes.set_title(title, loc="left")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.margins(x=0.06)
    axes.grid(visible=True)
    if percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


_BLUES = LinearSegmentedColormap.from_list("blues", [PAPER, SERIES[5], SERIES[0], "#00304d"])
_PAIRS_DRAWN = 20
_ENDS_DRAWN = 15  # best and worst classes, of many
_SHARES = (("precision", SERIES[5]), ("recall", SERIES[0]), ("f1", SERIES[1]))


def confusion_figure(confusion: Confusion) -> Figure:
    """Return the confusion matrix, or of many classes the pairs most often confused."""
    if len(confusion.classes) > MOST_CLASSES:
        return draw(_pairs_panel(confusion), width=6.4, height=6)[0]
    side = 2.6 + 0.42 * len(confusion.classes)
    return draw(_matrix_panel(confusion), width=side, height=side)[0]


def _matrix_panel(confusion: Confusion) -> Panel:
    def panel(axes: Axes) -> str:
        shades_KK, names = shades(confusion), labelled(confusion.classes)
        axes.imshow(shades_KK, cmap=_BLUES, vmin=0, vmax=10)
        for true, row in enumerate(confusion.counts_KK):
            for predicted, count in enumerate(row):
                ink = PAPER if shades_KK[true, predicted] > 5 else INK
                if count:
                    axes.text(predicted, true, f"{count:,}", color=ink, fontsize=9,
                              ha="center", va="center")  # fmt: skip
        places = range(len(names))
        axes.set_xticks(places, names, rotation=90)
        axes.set_yticks(places, names)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("prediction")
        axes.set_ylabel("truth")
        axes.set_title(f"validation images: {confusion.share_right:.1%} right", loc="left")
        return f"Confusion matrix of {len(names)} classes"

    return panel


def _pairs_panel(confusion: Confusion) -> Panel:
    pairs = confused_pairs(confusion)[:_PAIRS_DRAWN]

    def panel(axes: Axes) -> str:
        names = labelled(confusion.classes)
        words = [f"{names[pair.true]} → {names[pair.predicted]}" for pair in pairs]
        bars = axes.barh(range(len(pairs)), [pair.count for pair in pairs], color=SERIES[0])
        axes.bar_label(bars, padding=2, fontsize=7)
        axes.set_yticks(range(len(pairs)), words)
        axes.invert_yaxis()
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("validation images")
        axes.set_title("taken for another class most often: truth → prediction", loc="left")
        return f"The {len(pairs)} pairs of classes most often confused"

    return panel


def class_figure(rows: tuple[ClassMetrics, ...]) -> tuple[Figure, str]:
    """Return bars of precision, recall and F1 of each class, or of the best and the worst."""
    shown = _best_and_worst(rows)
    return draw(_class_panel(shown), height=1.0 + 0.34 * len(shown))


def _best_and_worst(rows: tuple[ClassMetrics, ...]) -> list[ClassMetrics]:
    ordered = sorted(rows, key=lambda row: -row.f1)
    if len(rows) <= MOST_CLASSES:
        return ordered
    return [*ordered[:_ENDS_DRAWN], *ordered[-_ENDS_DRAWN:]]


def _class_panel(rows: list[ClassMetrics]) -> Panel:
    def panel(axes: Axes) -> str:
        places = np.arange(len(rows))
        for number, (key, colour) in enumerate(_SHARES):
            word = "F1" if key == "f1" else key
            values = [getattr(row, key) for row in rows]
            axes.barh(places + 0.26 * (number - 1), values, height=0.24, color=colour, label=word)
        axes.set_yticks(places, labelled(tuple(row.name for row in rows)))
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.grid(visible=True, axis="x")
        axes.figure.legend(loc="outside upper center", ncols=3)
        best, worst = rows[0], rows[-1]
        return (f"Precision, recall and F1 of {len(rows)} classes: best F1 {best.f1:.1%} of "
                f"{best.name}, worst {worst.f1:.1%} of {worst.name}")  # fmt: skip

    return panel


def calibration_figure(calibration: Calibration) -> tuple[Figure, str]:
    """Return the reliability diagram: what the network promises against what it keeps.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", figure 1.
    """

    def panel(axes: Axes) -> str:
        filled = [each for each in calibration.bins if each.num_images]
        right = np.array([each.share_right for each in filled], np.float64)
        sure = np.array([each.mean_confidence for each in filled], np.float64)
        lows, width = [each.low for each in filled], 1 / len(calibration.bins)
        axes.bar(lows, right, width, align="edge", color=SERIES[5], edgecolor=PAPER,
                 linewidth=0.8, label="share right")  # fmt: skip
        for each in filled:
            middle = (each.low + each.high) / 2
            axes.text(middle, 0.015, f"{each.num_images:,}", rotation=90, fontsize=7, ha="center")
        axes.plot(sure, right, color=SERIES[0], marker="o", linestyle="none",
                  label="mean confidence")  # fmt: skip
        axes.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=1, label="as promised")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel("confidence: probability of the prediction")
        axes.set_ylabel("share right")
        axes.grid(visible=True, color=FAINT)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.legend(loc="upper left")
        words = f"expected calibration error {calibration.expected_error:.1%}"
        axes.set_title(words, loc="left")
        return f"Reliability diagram: {words}"

    return draw(panel, height=3.6)


_MOST_COLUMNS = 16  # as in the paper's figure


def filters_figure(filters_FSS3: NDArray[np.float32]) -> tuple[Figure, str]:
    """Return the filters side by side, as in the paper's figure 3.

    Source: paper, figure 3: "96 convolutional kernels of size 11×11×3 learned by the first
    convolutional layer".
    """
    count, side = filters_FSS3.shape[:2]
    columns = min(_MOST_COLUMNS, count)
    rows = -(-count // columns)
    picture = mosaic(to_unit_range(filters_FSS3), columns=columns)

    def panel(axes: Axes) -> str:
        axes.imshow(picture, interpolation="nearest")
        axes.set_axis_off()
        axes.set_title(f"{count} filters, {side}×{side}×3", loc="left")
        return (f"The {count} filters of the first layer, {side} by {side} pixels each, in {rows} "
                f"rows of {columns}")  # fmt: skip

    return draw(panel, width=6.4, height=0.5 + 6.2 * picture.shape[0] / picture.shape[1])
