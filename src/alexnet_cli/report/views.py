"""What the page's template is handed: every word and number of a run, ready to be shown.

A run in a few words and numbers.

Several runs side by side.
"""

import itertools
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from alexnet_cli.data.arrays import ImageSource
from alexnet_cli.evaluation.metrics import ClassMetrics
from alexnet_cli.models.describe import LayerRow, layer_table
from alexnet_cli.report import images
from alexnet_cli.report.drawing import draw, shortened, style, to_svg
from alexnet_cli.report.examine import NUM_EXAMPLES, Examination, Neighbours, RunRecord, drawn
from alexnet_cli.report.images import Shown, Sizes
from alexnet_cli.report.plots import (
    MOST_CLASSES,
    best_of,
    calibration_figure,
    class_figure,
    compared_panels,
    confused_pairs,
    curve_panels,
    filters_figure,
    shades,
)

NUM_MISTAKES = 24
_NUM_BARS = 5
_MOST_LETTERS = 40  # of a class's name in the page
_MOST_CLASS_ROWS = 200  # of the table of classes


@dataclass(frozen=True)
class Examined:
    """A run, its images and what its network makes of them.

    Attributes:
        key: Unique in the page, a letter and a number.
        label: A letter for plots of several runs.
    """

    key: str
    label: str
    record: RunRecord
    train: ImageSource
    val: ImageSource
    examination: Examination
    neighbours: Neighbours
    filters_FSS3: NDArray[np.float32]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names as the page has them."""
        return tuple(shortened(name, _MOST_LETTERS) for name in self.record.manifest.classes)


class Drawing(NamedTuple):
    """A figure in the page and what it shows."""

    svg: Markup
    words: str


class Answer(NamedTuple):
    """A validation image, and the classes that the network holds most probable."""

    image: Shown
    top: list[tuple[str, float]]

    @property
    def is_right(self) -> bool:
        """Whether the most probable class is its own."""
        return self.top[0][0] == self.image.truth


class Cell(NamedTuple):
    """Images of one class that were taken for one class.

    Attributes:
        key: Of what is opened; empty where there is nothing to open.
        answers: Some of the images.
    """

    key: str
    true: str
    predicted: str
    num_images: int
    share: float
    shade: int
    answers: list[Answer]


class MatrixRow(NamedTuple):
    """A row of the confusion matrix."""

    true: str
    cells: list[Cell]


@dataclass(frozen=True)
class RunView:
    """All there is to show of a run. Figures and pictures come in the order of the page."""

    examined: Examined
    sizes: Sizes
    curves: list[Drawing]
    matrix: list[MatrixRow]
    pairs: list[Cell]
    num_in_cells: int
    mistakes: list[Answer]
    num_wrong: int
    class_rows: tuple[ClassMetrics, ...]
    classes: Drawing
    calibration: Drawing
    filters: Drawing
    examples: list[Answer]
    neighbours: list[tuple[Shown, list[tuple[Shown, float]]]]
    layers: tuple[LayerRow, ...]
    commands: list[str] = field(default_factory=list)

    @property
    def record(self) -> RunRecord:
        """The run."""
        return self.examined.record

    @property
    def cells(self) -> list[Cell]:
        """What can be opened."""
        return [
            cell for cell in (*itertools.chain(*(row.cells for row in self.matrix)), *self.pairs)
            if cell.key
        ]  # fmt: skip

    @property
    def num_classes_left_out(self) -> int:
        """Classes without a row in the table."""
        return len(self.examined.classes) - len(self.class_rows)


def view_run(examined: Examined, drawings: dict[str, Drawing], sizes: Sizes) -> RunView:
    """Lay out a run and choose its images.

    Args:
        examined: The run.
        drawings: Of `draw_figures`.
        sizes: Of its pictures.
    """
    examination = examined.examination
    wrong = np.flatnonzero(examination.predictions_N != examined.val.labels_N)
    shown = images.most_confident(examination, wrong, NUM_MISTAKES)
    cells = _cells(examined, sizes)
    is_small = len(examined.classes) <= MOST_CLASSES
    examples = drawn(len(examined.val), NUM_EXAMPLES, stream=0)
    rows = examination.summary.classes
    return RunView(
        examined,
        sizes,
        curves=[drawings[name] for name in curve_panels(examined.record.history)],
        matrix=_matrix(examined, cells) if is_small else [],
        pairs=[] if is_small else list(cells.values()),
        num_in_cells=sum(len(cell.answers) for cell in cells.values()),
        mistakes=_answers(examined, shown, sizes.large_px),
        num_wrong=len(wrong),
        class_rows=rows[:_MOST_CLASS_ROWS],
        classes=drawings["classes"],
        calibration=drawings["calibration"],
        filters=drawings["filters"],
        examples=_answers(examined, examples, sizes.large_px),
        neighbours=_neighbours(examined, sizes.large_px),
        layers=layer_table(examined.record.manifest.network),
        commands=commands(examined.record),
    )


def draw_figures(examined: Examined) -> dict[str, Drawing]:
    """Return the figures of a run by name."""
    examination, history = examined.examination, examined.record.history
    with style():
        figures = {name: draw(panel) for name, panel in curve_panels(history).items()}
        figures["classes"] = class_figure(examination.summary.classes)
        figures["calibration"] = calibration_figure(examination.summary.calibration)
        figures["filters"] = filters_figure(examined.filters_FSS3)
        return {
            name: Drawing(to_svg(figure, name=f"{examined.key}-{name}", words=words), words)
            for name, (figure, words) in figures.items()
        }


def _answers(examined: Examined, indices_N: NDArray[np.int64], most_px: int) -> list[Answer]:
    shown = _shown(examined, examined.val, indices_N, most_px)
    probabilities_NK = examined.examination.probabilities_NK[indices_N]
    best_N5 = np.argsort(-probabilities_NK, axis=1, kind="stable")[:, :_NUM_BARS]
    return [
        Answer(image, [(examined.classes[k], float(row_K[k])) for k in best])
        for image, row_K, best in zip(shown, probabilities_NK, best_N5.tolist(), strict=True)
    ]


def _shown(
    examined: Examined, source: ImageSource, indices_N: NDArray[np.int64], most_px: int
) -> list[Shown]:
    size_px = examined.record.manifest.input.image_size_px
    return images.show(
        source, indices_N, classes=examined.classes, size_px=size_px, most_px=most_px
    )


def _cells(examined: Examined, sizes: Sizes) -> dict[tuple[int, int], Cell]:
    """Return the cells that can be opened, the one of most images first."""
    confusion = examined.examination.confusion
    counts_KK = confusion.counts_KK
    if len(confusion.classes) > MOST_CLASSES:
        pairs = [(pair.true, pair.predicted) for pair in confused_pairs(confusion)]
    else:
        order = np.argsort(-counts_KK, axis=None, kind="stable")[: int((counts_KK > 0).sum())]
        places = np.unravel_index(order, counts_KK.shape)
        pairs = [(int(true), int(predicted)) for true, predicted in zip(*places, strict=True)]
    behind = images.behind_cells(examined.examination, pairs, most=sizes.most_in_cells)
    every = np.concatenate(list(behind.values())) if behind else np.empty(0, np.int64)
    answers = iter(_answers(examined, every, sizes.small_px))
    shades_KK = shades(confusion)
    return {
        pair: _cell(
            examined, pair, shade=int(shades_KK[pair]), answers=[*itertools.islice(answers, count)]
        )
        for pair in pairs
        for count in [len(behind.get(pair, ()))]
    }


def _cell(examined: Examined, pair: tuple[int, int], *, shade: int, answers: list[Answer]) -> Cell:
    true, predicted = pair
    counts_KK = examined.examination.confusion.counts_KK
    count = int(counts_KK[pair])
    return Cell(
        f"{examined.key}-{true}-{predicted}" if answers else "",
        examined.classes[true],
        examined.classes[predicted],
        count,
        count / max(1, int(counts_KK[true].sum())),
        shade,
        answers,
    )


def _matrix(examined: Examined, cells: dict[tuple[int, int], Cell]) -> list[MatrixRow]:
    places = range(len(examined.classes))

    def cell(true: int, predicted: int) -> Cell:
        found = cells.get((true, predicted))
        return found or _cell(examined, (true, predicted), shade=0, answers=[])

    return [
        MatrixRow(examined.classes[true], [cell(true, predicted) for predicted in places])
        for true in places
    ]


def _neighbours(examined: Examined, most_px: int) -> list[tuple[Shown, list[tuple[Shown, float]]]]:
    found = examined.neighbours
    queries = _shown(examined, examined.val, found.queries_Q, most_px)
    near = iter(_shown(examined, examined.train, found.nearest_QM.ravel(), most_px))
    return [
        (query, [(next(near), distance) for distance in row])
        for query, row in zip(queries, found.distances_QM.tolist(), strict=True)
    ]


def commands(record: RunRecord) -> list[str]:
    """Return what trains, measures and reports it again."""
    path = str(record.run.path)
    began = record.environment.get("command")
    return [
        *([shlex.join(began)] if began else []),
        shlex.join(["alexnet", "train", "--config", str(record.run.config)]),
        shlex.join(["alexnet", "evaluate", path, "--split", "val"]),
        shlex.join(["alexnet", "report", path]),
    ]


def headline(examined: Examined) -> list[tuple[str, str]]:
    """Return what to know of a run first, as names and values."""
    record, summary = examined.record, examined.examination.summary
    history, best = record.history, best_of(record.history)
    low, high = summary.top1_interval
    done, planned = len(history), record.num_epochs_planned
    environment = record.best.environment
    num_parameters = sum(row.num_parameters for row in layer_table(record.manifest.network))
    return [
        ("best validation top-1",
         f"{summary.top1:.2%} (95 %: {low:.2%} to {high:.2%}) of {summary.num_images:,} images"),
        ("network", f"{record.manifest.network.name}, {num_parameters:,} parameters"),
        ("data", f"{record.manifest.provenance.data}: {len(examined.train):,} images to train on, "
                 f"{len(examined.classes):,} classes"),
        ("epochs", f"{done} of {planned}: not finished" if done < planned else f"{done}"),
        ("best epoch", f"{best.epoch}, {best.val_top1:.2%} when it was trained "
                       f"({environment.get('precision', 'precision not recorded')})"),
        ("time", duration(record.seconds)),
        ("speed", f"{history[-1].images_per_second:,.0f} images/s in the last epoch"),
        ("hardware", environment.get("device", "not recorded")),
    ]  # fmt: skip


def duration(seconds: float) -> str:
    """Say how long something took."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


@dataclass(frozen=True)
class Setting:
    """A setting that differs, with its value in each run."""

    name: str
    values: list[str]


@dataclass(frozen=True)
class RunRow:
    """A run in the table of results."""

    label: str
    key: str
    name: str
    cells: list[str]


@dataclass(frozen=True)
class Comparison:
    """What to show of several runs together.

    Attributes:
        have_same_images: Whether all were validated on the same images.
    """

    rows: list[RunRow]
    curves: list[Drawing]
    settings: list[Setting]
    environment: list[Setting]
    have_same_images: bool


def compare(runs: Sequence[Examined]) -> Comparison:
    """Lay runs side by side."""
    histories = {run.label: run.record.history for run in runs}
    curves = []
    with style():
        for name, panel in compared_panels(histories).items():
            figure, words = draw(panel)
            svg = to_svg(figure, name=f"all-{name}", words=words)
            curves.append(Drawing(svg, words))
    images = {
        (run.record.manifest.provenance.data, run.record.manifest.provenance.images) for run in runs
    }
    return Comparison(
        [RunRow(run.label, run.key, run.record.name, _run_cells(run)) for run in runs],
        curves,
        _differing([run.record.best.config for run in runs]),
        _differing([run.record.best.environment for run in runs]),
        len(images) == 1,
    )


def _run_cells(run: Examined) -> list[str]:
    summary, history = run.examination.summary, run.record.history
    low, high = summary.top1_interval
    return [
        run.record.manifest.network.name,
        run.record.manifest.provenance.data,
        f"{summary.top1:.2%} ({low:.2%} to {high:.2%})",
        f"{best_of(history).epoch} of {len(history)}",
        duration(run.record.seconds),
        f"{history[-1].images_per_second:,.0f}",
    ]


def _differing(documents: list[dict[str, Any]]) -> list[Setting]:
    """Return what is not the same in all, in the order of the first."""
    names = dict.fromkeys(name for document in documents for name in document)
    rows = [Setting(name, [str(each.get(name, "–")) for each in documents]) for name in names]
    return [row for row in rows if len(set(row.values)) > 1]
