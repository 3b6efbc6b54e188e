"""How a network does by class, and how far its probabilities can be trusted.

Shape letters: K classes.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from alexnet_cli.evaluation.calibration import Calibration
from alexnet_cli.evaluation.metrics import ClassMetrics
from alexnet_cli.report.confusions import MOST_CLASSES, Confusion, confused_pairs, shades
from alexnet_cli.report.drawing import FAINT, INK, PAPER, SERIES, Panel, draw, labelled

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
