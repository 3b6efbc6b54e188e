"""The content of the page: what the templates need of runs, and their images as pictures.

Shape letters: N images, S side, 3 = RGB, K classes.
"""

import base64
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from alexnet_cli.data.arrays import ImageSource, iterate_images
from alexnet_cli.data.folder import ImageFolder
from alexnet_cli.manifest import Manifest
from alexnet_cli.models.describe import layer_table
from alexnet_cli.report.drawing import draw_curves, shorten, style, to_svg
from alexnet_cli.report.examine import (
    Examination,
    ExaminedRun,
    choose_mistakes,
    draw_examples,
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
    largest_cells,
    most_confused,
    shades,
)
from alexnet_cli.run_folder import differing_entries

MAX_PER_CELL = 12
_NUM_BARS = 5
_MAX_CLASS_LENGTH, _MAX_FILE_LENGTH = 40, 60  # of names
_MAX_CLASS_ROWS = 200  # of the table of classes
_QUALITY = 85
_BATCH_SIZE = 64


class Sizes(NamedTuple):
    """Sizes of pictures, and their number, which bound the size of a page."""

    large_px: int  # maximal side of most pictures
    small_px: int  # maximal side of pictures behind cells of the confusion matrix
    max_in_cells: int  # maximal number of pictures behind cells, of one run


class Picture(NamedTuple):
    """An image in the page."""

    uri: str  # its pixels, as a data URI
    name: str  # its file, or its number in the validation or training set
    truth: str  # its class


class Answer(NamedTuple):
    """A validation image, and its most probable classes."""

    image: Picture
    top: list[tuple[str, float]]


class Cell(NamedTuple):
    """The images of one class that were predicted as one class."""

    key: str  # id of the popover with images; "" if there is none
    true: str
    predicted: str
    num_images: int
    share: float  # fraction of the images of the true class
    shade: int
    answers: list[Answer]  # some of the images


def draw_figures(examined: ExaminedRun, label: str) -> dict[str, Markup]:
    summary, curves = examined.examination.summary, curve_panels(examined.record.history)
    with style():
        figures = {
            **{name: draw_curves(panel) for name, panel in curves.items()},
            "classes": class_figure(summary.classes),
            "calibration": calibration_figure(summary.calibration),
            "filters": filters_figure(examined.filters_FSS3),
        }
        return {
            name: to_svg(*figure, name=f"run-{label}-{name}") for name, figure in figures.items()
        }


def view_run(
    examined: ExaminedRun, label: str, figures: dict[str, Markup], sizes: Sizes
) -> dict[str, Any]:
    """Return the content of a run's section.

    `label` is a letter, unique in the page.
    """
    record, examination = examined.record, examined.examination
    classes = _shorten_classes(record.manifest)
    cells = _view_cells(examined, label, sizes)
    has_matrix, labels = len(classes) <= MAX_CLASSES, range(len(classes))
    return {
        "label": label,
        "record": record,
        "examined": examined,
        "summary": examination.summary,
        "best": best_epoch(record.history),
        "classes": classes,
        "class_rows": examination.summary.classes[:_MAX_CLASS_ROWS],
        "layers": layer_table(record.manifest.network),
        "figures": figures,
        "matrix": has_matrix and [[cells[true, found] for found in labels] for true in labels],
        "pairs": not has_matrix and list(cells.values()),
        "popovers": [cell for cell in cells.values() if cell.key],
        "mistakes": _view_evidence(examined, choose_mistakes(examination), sizes.large_px),
        "num_wrong": int((examination.predictions_N != examination.labels_N).sum()),
        "examples": _view_evidence(examined, draw_examples(examination), sizes.large_px),
        "neighbours": _view_neighbours(examined, sizes.large_px),
    }


def _shorten_classes(manifest: Manifest) -> tuple[str, ...]:
    return tuple(shorten(name, _MAX_CLASS_LENGTH) for name in manifest.classes)


def _view_cells(examined: ExaminedRun, label: str, sizes: Sizes) -> dict[tuple[int, int], Cell]:
    """Return the cells of the confusion matrix by true and predicted class, the largest first.

    For many classes: only the pairs most often confused.
    """
    classes, counts_KK = _shorten_classes(examined.record.manifest), examined.examination.counts_KK
    shades_KK, totals_K = shades(counts_KK), np.maximum(counts_KK.sum(axis=1), 1)
    pairs = (largest_cells if len(classes) <= MAX_CLASSES else most_confused)(counts_KK)
    chosen = choose_for_cells(examined.examination, pairs, max_images=sizes.max_in_cells)
    indices_N = np.concatenate([np.empty(0, np.int64), *chosen.values()])
    answers = iter(_view_answers(examined, indices_N, sizes.small_px))
    cells = {}
    for true, predicted in pairs:
        own = list(itertools.islice(answers, len(chosen.get((true, predicted), ()))))
        cells[true, predicted] = Cell(
            key=f"run-{label}-{true}-{predicted}" if own else "",
            true=classes[true],
            predicted=classes[predicted],
            num_images=int(counts_KK[true, predicted]),
            share=float(counts_KK[true, predicted] / totals_K[true]),
            shade=int(shades_KK[true, predicted]),
            answers=own,
        )
    return cells


def choose_for_cells(
    examination: Examination, cells: Sequence[tuple[int, int]], *, max_images: int
) -> dict[tuple[int, int], NDArray[np.int64]]:
    """Choose the most confident images for cells of the confusion matrix.

    The cells, each a true and a predicted class, get at most the same number. If there are more
    cells than images, the last get none.
    """
    labels_N, predictions_N = examination.labels_N, examination.predictions_N
    members = {
        (true, predicted): np.flatnonzero((labels_N == true) & (predictions_N == predicted))
        for true, predicted in cells[:max_images]
    }
    per_cell = 1
    while per_cell < MAX_PER_CELL:
        if sum(min(len(each), per_cell + 1) for each in members.values()) > max_images:
            break
        per_cell += 1
    return {cell: most_confident(examination, each, per_cell) for cell, each in members.items()}


def _view_answers(examined: ExaminedRun, indices_N: NDArray[np.int64], max_px: int) -> list[Answer]:
    manifest = examined.record.manifest
    classes = _shorten_classes(manifest)
    pictures = make_pictures(examined.val, indices_N, manifest, max_px)
    probabilities_NK = examined.examination.probabilities_NK[indices_N]
    best_N5 = np.argsort(-probabilities_NK, axis=1, kind="stable")[:, :_NUM_BARS]
    return [
        Answer(picture, [(classes[k], float(row_K[k])) for k in best])
        for picture, row_K, best in zip(pictures, probabilities_NK, best_N5.tolist(), strict=True)
    ]


def _view_evidence(
    examined: ExaminedRun, indices_N: NDArray[np.int64], max_px: int
) -> list[tuple[Answer, str, str]]:
    """Return answers with the evidence for each: its picture as a data URI, and its place."""
    answers = _view_answers(examined, indices_N, max_px)
    found = [examined.evidence[index] for index in indices_N.tolist()]
    return [
        (answer, _data_uri(picture_SS3, max_px), place)
        for answer, (picture_SS3, place) in zip(answers, found, strict=True)
    ]


def _view_neighbours(
    examined: ExaminedRun, max_px: int
) -> list[tuple[Picture, list[tuple[Picture, float]]]]:
    found, manifest = examined.neighbours, examined.record.manifest
    queries = make_pictures(examined.val, found.queries_Q, manifest, max_px)
    nearest = iter(make_pictures(examined.train, found.nearest_QM.ravel(), manifest, max_px))
    return [
        (query, [(next(nearest), distance) for distance in row])
        for query, row in zip(queries, found.distances_QM.tolist(), strict=True)
    ]


def make_pictures(
    source: ImageSource, indices_N: NDArray[np.int64], manifest: Manifest, max_px: int
) -> list[Picture]:
    """Return images as pictures, with sides of at most `max_px`."""
    chosen, classes = source.take(indices_N), _shorten_classes(manifest)
    size_px = manifest.input.image_size_px
    batches = iterate_images(chosen, size_px=size_px, batch_size=_BATCH_SIZE)
    squares = itertools.chain.from_iterable(batches)
    return [
        Picture(_data_uri(square_SS3, max_px), name, classes[label])
        for square_SS3, name, label in zip(
            squares, _names(chosen, indices_N), chosen.labels_N.tolist(), strict=True
        )
    ]


def _data_uri(square_SS3: NDArray[np.uint8], max_px: int) -> str:
    image = Image.fromarray(square_SS3)
    image.thumbnail((max_px, max_px), Image.Resampling.LANCZOS, reducing_gap=None)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=_QUALITY, method=4)  # half the size of JPEG at 32 px
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _names(source: ImageSource, indices_N: NDArray[np.int64]) -> Iterator[str]:
    if not isinstance(source, ImageFolder):
        yield from (f"image {index}" for index in indices_N.tolist())
        return
    for name in source.names_N:  # a file name may have bytes that are not UTF-8
        text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        yield shorten(text, _MAX_FILE_LENGTH)


def compare_runs(runs: Mapping[str, ExaminedRun]) -> dict[str, Any]:
    """Return the content of the section about several runs, given by label."""
    records = {label: run.record for label, run in runs.items()}
    panels = comparison_panels({label: record.history for label, record in records.items()})
    with style():
        curves = [to_svg(*draw_curves(panel), name=f"all-{name}") for name, panel in panels.items()]
    origins = [record.manifest.provenance for record in records.values()]
    return {
        "curves": curves,
        "differences": {
            "Settings that differ": _differing([each.public_settings for each in records.values()]),
            "Hardware, versions and images that differ": _differing(
                [each.best.environment for each in records.values()]
            ),
        },
        "have_same_images": len({(origin.data, origin.images) for origin in origins}) == 1,
    }


def _differing(documents: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    return [
        (name, ["–" if value is None else str(value) for value in values])
        for name, values in differing_entries(documents).items()
    ]
