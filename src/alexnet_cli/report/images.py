"""The images of a report: found again, and small enough to be many in one file.

Shape letters: N images, S side, 3 = RGB.
"""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet_cli.data.arrays import ImageSource, describe_split
from alexnet_cli.data.datasets import DATASETS, find_dataset, load_training
from alexnet_cli.data.folder import ImageFolder
from alexnet_cli.data.prefetch import squares_in_order
from alexnet_cli.errors import DataError, UsageError
from alexnet_cli.report.drawing import shortened
from alexnet_cli.report.examine import Examination, RunRecord

MOST_PER_CELL = 12
_MOST_FILE_LETTERS = 60
_QUALITY = 85
_CHUNK = 64


@dataclass(frozen=True)
class Sizes:
    """How large pictures are, and how many: what bounds the size of a page.

    Attributes:
        large_px: Side that larger images are brought to where each is looked at.
        small_px: The same behind the cells of the confusion matrix.
        most_in_cells: Images there, of one run.
    """

    large_px: int
    small_px: int
    most_in_cells: int


@dataclass(frozen=True)
class Shown:
    """An image as the page has it.

    Attributes:
        uri: Its pixels, as a data URI.
        name: Its file, or its number in the validation or training set.
        truth: Its class.
    """

    uri: str
    name: str
    truth: str


def load_parts(record: RunRecord) -> tuple[ImageSource, ImageSource]:
    """Return the training and the validation images of a run.

    Raises:
        DataError: They are gone, or no longer those of the training.
    """
    manifest = record.manifest
    origin = manifest.provenance
    if origin.data not in DATASETS and not Path(origin.data).is_dir():
        raise DataError(
            f"the images of the run {record.run.path} are gone: there is no folder {origin.data}",
            hint="put the folder back, or train on the images where they are now: alexnet train "
            "--data FOLDER",
            code="images_gone",
        )
    try:
        dataset = find_dataset(origin.data)
        train, val = load_training(dataset, val_size=origin.val_size, seed=origin.seed)
    except (DataError, UsageError) as error:
        raise DataError(
            f"the images of the run {record.run.path}: {error.message}",
            hint=error.hint,
            code=error.code,
        ) from error
    is_changed = origin.images and describe_split(train, val) != origin.images
    if dataset.classes != manifest.classes or is_changed:
        raise DataError(
            f"the images of {dataset.name} are no longer those that the run {record.run.path} was "
            "trained on, so that some of its validation images may have been trained on",
            hint="put the folder back as it was, or train anew: alexnet train",
            code="images_differ",
        )
    return train, val


def show(
    source: ImageSource,
    indices_N: NDArray[np.int64],
    *,
    classes: tuple[str, ...],
    size_px: int,
    most_px: int,
) -> list[Shown]:
    """Return images ready for the page.

    Args:
        source: The images.
        indices_N: Which of them.
        classes: Class names in label order.
        size_px: Side of the squares that the network's crops are cut from.
        most_px: Side that larger ones are brought to.
    """
    chosen = source.take(indices_N)
    squares = (
        square
        for batch in squares_in_order(chosen, size_px=size_px, batch_size=_CHUNK)
        for square in batch
    )
    return [
        Shown(_data_uri(square, most_px), name, classes[label])
        for square, name, label in zip(
            squares, _names(chosen, indices_N), chosen.labels_N.tolist(), strict=True
        )
    ]


def _data_uri(square_SS3: NDArray[np.uint8], most_px: int) -> str:
    image = Image.fromarray(square_SS3)
    if image.width > most_px:
        image = image.resize((most_px, most_px), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=_QUALITY, method=4)  # half the size of JPEG at 32 px
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _names(source: ImageSource, indices_N: NDArray[np.int64]) -> Iterator[str]:
    if not isinstance(source, ImageFolder):
        yield from (f"image {index}" for index in indices_N.tolist())
        return
    for name in source.names_N:  # may hold bytes that are no text
        text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        yield shortened(text, _MOST_FILE_LETTERS)


def most_confident(
    examination: Examination, indices_N: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """Return those images whose predictions are the most probable, the most probable first."""
    confidence_N = examination.probabilities_NK[indices_N].max(axis=1)
    order = np.argsort(-confidence_N, kind="stable")[:count]
    chosen: NDArray[np.int64] = indices_N[order]
    return chosen


def behind_cells(
    examination: Examination, cells: Sequence[tuple[int, int]], *, most: int
) -> dict[tuple[int, int], NDArray[np.int64]]:
    """Choose the images to show behind cells of the confusion matrix.

    Args:
        examination: Of the run.
        cells: True and predicted class; only the first `most` of them get images.
        most: Images in all.

    Returns:
        For each cell its most confident images, at most as many as are fair to the others.
    """
    labels_N, predictions_N = examination.labels_N, examination.predictions_N
    members = {
        (true, predicted): np.flatnonzero((labels_N == true) & (predictions_N == predicted))
        for true, predicted in cells[:most]
    }
    per_cell = 1
    while (
        per_cell < MOST_PER_CELL
        and sum(min(len(each), per_cell + 1) for each in members.values()) <= most
    ):
        per_cell += 1
    return {
        cell: most_confident(examination, indices_N, per_cell)
        for cell, indices_N in members.items()
    }
