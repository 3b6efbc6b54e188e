"""The content of the page: texts, numbers and pictures of runs, ready for the templates."""

import itertools
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from alexnet_cli.data.arrays import ImageSource
from alexnet_cli.evaluation.metrics import ClassMetrics
from alexnet_cli.models.describe import LayerRow, layer_table
from alexnet_cli.report.drawing import draw, shorten, style, to_svg
from alexnet_cli.report.examine import Examination, Neighbours, RunRecord, draw_indices
from alexnet_cli.report.images import (
    Picture,
    Sizes,
    choose_for_cells,
    make_pictures,
    most_confident,
)
from alexnet_cli.report.plots import (
    MAX_CLASSES,
    best_epoch,
    calibration_figure,
    class_figure,
    comparison_panels,
    curve_panels,
    filters_figure,
)
from alexnet_cli.training.reporting import duration

_NUM_EXAMPLES, _NUM_MISTAKES = 8, 24
_NUM_BARS = 5
_MAX_NAME_LENGTH = 40  # of a class
_MAX_CLASS_ROWS = 200  # of the table of classes


@dataclass(frozen=True)
class ExaminedRun:
    """A run with its images and the answers of its network.

    Attributes:
        key: Unique id in the page, a letter and a number.
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
        """Class names, shortened for the page."""
        return tuple(shorten(name, _MAX_NAME_LENGTH) for name in self.record.manifest.classes)


class Answer(NamedTuple):
    """A validation image, and its most probable classes."""

    image: Picture
    top: list[tuple[str, float]]

    @property
    def is_right(self) -> bool:
        """True if the most probable class is the true one."""
        return self.top[0][0] == self.image.truth


class Cell(NamedTuple):
    """The images of one class that were predicted as one class.

    Attributes:
        key: Id of the popover with images; "" if there is none.
        share: Share of the images of the true class.
        answers: Some of the images.
    """

    key: str
    true: str
    predicted: str
    num_images: int
    share: float
    shade: int
    answers: list[Answer]


@dataclass(frozen=True)
class RunView:
    """The content of a run's section.

    Attributes:
        figures: SVG by name, of `draw_figures`.
        matrix: The confusion matrix; empty if there are too many classes.
        pairs: The pairs most often confused, if there are too many classes for a matrix.
    """

    examined: ExaminedRun
    sizes: Sizes
    facts: list[tuple[str, str]]
    figures: dict[str, Markup]
    matrix: list[list[Cell]]
    pairs: list[Cell]
    mistakes: list[Answer]
    num_wrong: int
    class_rows: tuple[ClassMetrics, ...]
    examples: list[Answer]
    neighbours: list[tuple[Picture, list[tuple[Picture, float]]]]
    layers: tuple[LayerRow, ...]
    commands: list[str]

    @property
    def record(self) -> RunRecord:
        """The run."""
        return self.examined.record

    @property
    def popovers(self) -> list[Cell]:
        """The cells with images."""
        return [cell for cell in (*itertools.chain(*self.matrix), *self.pairs) if cell.key]


def view_run(examined: ExaminedRun, figures: dict[str, Markup], sizes: Sizes) -> RunView:
    """Choose the images of a run, and collect its content.

    Args:
        examined: The run.
        figures: Figures of `draw_figures`.
        sizes: Sizes of the pictures.
    """
    examination, classes = examined.examination, examined.classes
    wrong = np.flatnonzero(examination.predictions_N != examined.val.labels_N)
    mistakes = most_confident(examination, wrong, _NUM_MISTAKES)
    examples = draw_indices(len(examined.val), _NUM_EXAMPLES, stream=0)
    cells = _cells(examined, sizes)
    is_small = len(classes) <= MAX_CLASSES
    labels = range(len(classes))
    return RunView(
        examined,
        sizes,
        facts=headline(examined),
        figures=figures,
        matrix=[[cells[true, found] for found in labels] for true in labels] if is_small else [],
        pairs=[] if is_small else list(cells.values()),
        mistakes=_answers(examined, mistakes, sizes.large_px),
        num_wrong=len(wrong),
        class_rows=examination.summary.classes[:_MAX_CLASS_ROWS],
        examples=_answers(examined, examples, sizes.large_px),
        neighbours=_neighbours(examined, sizes.large_px),
        layers=layer_table(examined.record.manifest.network),
        commands=commands(examined.record),
    )


def draw_figures(examined: ExaminedRun) -> dict[str, Markup]:
    """Return the figures of a run by name."""
    summary = examined.examination.summary
    with style():
        figures = {
            **{name: draw(panel) for name, panel in curve_panels(examined.record.history).items()},
            "classes": class_figure(summary.classes),
            "calibration": calibration_figure(summary.calibration),
            "filters": filters_figure(examined.filters_FSS3),
        }
        return {
            name: to_svg(*figure, name=f"{examined.key}-{name}") for name, figure in figures.items()
        }


def _cells(examined: ExaminedRun, sizes: Sizes) -> dict[tuple[int, int], Cell]:
    """Return the cells of the confusion matrix by true and predicted class, the largest first.

    For many classes: only the pairs most often confused.
    """
    classes, confusion = examined.classes, examined.examination.confusion
    counts_KK, shades_KK = confusion.counts_KK, confusion.shades_KK
    totals_K = np.maximum(counts_KK.sum(axis=1), 1)
    if len(classes) > MAX_CLASSES:
        pairs = confusion.most_confused()
    else:
        order = np.argsort(-counts_KK, axis=None, kind="stable")
        places = zip(*np.unravel_index(order, counts_KK.shape), strict=True)
        pairs = [(int(true), int(predicted)) for true, predicted in places]
    chosen = choose_for_cells(examined.examination, pairs, max_images=sizes.max_in_cells)
    indices_N = np.concatenate([np.empty(0, np.int64), *chosen.values()])
    answers = iter(_answers(examined, indices_N, sizes.small_px))
    cells = {}
    for true, predicted in pairs:
        count = int(counts_KK[true, predicted])
        own = list(itertools.islice(answers, len(chosen.get((true, predicted), ()))))
        cells[true, predicted] = Cell(
            key=f"{examined.key}-{true}-{predicted}" if own else "",
            true=classes[true],
            predicted=classes[predicted],
            num_images=count,
            share=float(count / totals_K[true]),
            shade=int(shades_KK[true, predicted]),
            answers=own,
        )
    return cells


def _answers(examined: ExaminedRun, indices_N: NDArray[np.int64], max_px: int) -> list[Answer]:
    pictures = _pictures(examined, examined.val, indices_N, max_px)
    probabilities_NK = examined.examination.probabilities_NK[indices_N]
    best_N5 = np.argsort(-probabilities_NK, axis=1, kind="stable")[:, :_NUM_BARS]
    return [
        Answer(picture, [(examined.classes[k], float(row_K[k])) for k in best])
        for picture, row_K, best in zip(pictures, probabilities_NK, best_N5.tolist(), strict=True)
    ]


def _neighbours(
    examined: ExaminedRun, max_px: int
) -> list[tuple[Picture, list[tuple[Picture, float]]]]:
    found = examined.neighbours
    queries = _pictures(examined, examined.val, found.queries_Q, max_px)
    nearest = iter(_pictures(examined, examined.train, found.nearest_QM.ravel(), max_px))
    return [
        (query, [(next(nearest), distance) for distance in row])
        for query, row in zip(queries, found.distances_QM.tolist(), strict=True)
    ]


def _pictures(
    examined: ExaminedRun, source: ImageSource, indices_N: NDArray[np.int64], max_px: int
) -> list[Picture]:
    size_px = examined.record.manifest.input.image_size_px
    return make_pictures(
        source, indices_N, classes=examined.classes, size_px=size_px, max_px=max_px
    )  # fmt: skip


def commands(record: RunRecord) -> list[str]:
    """Return the commands that train, evaluate and report a run again."""
    path = str(record.run.path)
    original = record.environment.get("command")
    return [
        *([shlex.join(original)] if original else []),
        shlex.join(["alexnet", "train", "--config", str(record.run.config)]),
        shlex.join(["alexnet", "evaluate", path, "--split", "val"]),
        shlex.join(["alexnet", "report", path]),
    ]


def headline(examined: ExaminedRun) -> list[tuple[str, str]]:
    """Return the key facts of a run as names and values."""
    record, summary = examined.record, examined.examination.summary
    history, best = record.history, best_epoch(record.history)
    low, high = summary.top1_interval
    num_done, num_planned = len(history), int(record.best.config["epochs"])
    environment = record.best.environment
    precision = environment.get("precision", "precision not recorded")
    num_parameters = sum(row.num_parameters for row in layer_table(record.manifest.network))
    return [
        ("best validation top-1",
         f"{summary.top1:.2%} (95 %: {low:.2%} to {high:.2%}) of {summary.num_images:,} images"),
        ("network", f"{record.manifest.network.name}, {num_parameters:,} parameters"),
        ("data", f"{record.manifest.provenance.data}: {len(examined.train):,} training images, "
                 f"{len(examined.classes):,} classes"),
        ("epochs", f"{num_done}" if num_done >= num_planned else
                   f"{num_done} of {num_planned}: not finished"),
        ("best epoch", f"{best.epoch}, {best.val_top1:.2%} during training ({precision})"),
        ("time", duration(record.seconds)),
        ("speed", f"{history[-1].images_per_second:,.0f} images/s in the last epoch"),
        ("hardware", environment.get("device", "not recorded")),
    ]  # fmt: skip


@dataclass(frozen=True)
class RunComparison:
    """The content of the section about several runs.

    Attributes:
        rows: Name and values of each run in the table of results.
        curves: Figures.
        settings: Name and values of each setting that differs.
        environment: The same for hardware, versions and images.
        have_same_images: True if all runs were validated on the same images.
    """

    rows: list[tuple[ExaminedRun, list[str]]]
    curves: list[Markup]
    settings: list[tuple[str, list[str]]]
    environment: list[tuple[str, list[str]]]
    have_same_images: bool


def compare_runs(runs: Sequence[ExaminedRun]) -> RunComparison:
    """Compare the results, curves and settings of runs."""
    histories = {run.label: run.record.history for run in runs}
    with style():
        panels = comparison_panels(histories).items()
        curves = [to_svg(*draw(panel), name=f"all-{name}") for name, panel in panels]
    origins = [run.record.manifest.provenance for run in runs]
    return RunComparison(
        [(run, _results(run)) for run in runs],
        curves,
        _differing([run.record.best.config for run in runs]),
        _differing([run.record.best.environment for run in runs]),
        len({(origin.data, origin.images) for origin in origins}) == 1,
    )


def _results(run: ExaminedRun) -> list[str]:
    summary, history = run.examination.summary, run.record.history
    low, high = summary.top1_interval
    return [
        run.record.manifest.network.name,
        run.record.manifest.provenance.data,
        f"{summary.top1:.2%} ({low:.2%} to {high:.2%})",
        f"{best_epoch(history).epoch} of {len(history)}",
        duration(run.record.seconds),
        f"{history[-1].images_per_second:,.0f}",
    ]


def _differing(documents: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Return the entries that differ, in the order of the first document."""
    names = dict.fromkeys(name for document in documents for name in document)
    rows = [(name, [str(each.get(name, "–")) for each in documents]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]
