"""How training went, epoch by epoch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter

from alexnet_cli.report.drawing import FAINT, INK, SERIES, Panel, line_styles
from alexnet_cli.training.checkpoint import EpochRow

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
