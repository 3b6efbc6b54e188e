"""The images of a report: loaded as in training, and small enough for many in one file.

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

from alexnet_cli.data.arrays import ImageSource, split_fingerprint
from alexnet_cli.data.datasets import DATASETS, find_dataset, load_training
from alexnet_cli.data.folder import ImageFolder
from alexnet_cli.data.prefetch import iterate_images
from alexnet_cli.errors import DataError, UsageError
from alexnet_cli.report.drawing import shorten
from alexnet_cli.report.examine import Examination, RunRecord

MAX_PER_CELL = 12
_MAX_NAME_LENGTH = 60
_QUALITY = 85
_BATCH_SIZE = 64


@dataclass(frozen=True)
class Sizes:
    """Sizes of pictures, and their number, which bound the size of a page.

    Attributes:
        large_px: Maximal side of most pictures.
        small_px: Maximal side of pictures behind cells of the confusion matrix.
        max_in_cells: Maximal number of pictures behind cells, of one run.
    """

    large_px: int
    small_px: int
    max_in_cells: int


@dataclass(frozen=True)
class Picture:
    """An image in the page.

    Attributes:
        uri: Its pixels, as a data URI.
        name: Its file, or its number in the validation or training set.
        truth: Its class.
    """

    uri: str
    name: str
    truth: str


def load_images_of(record: RunRecord) -> tuple[ImageSource, ImageSource]:
    """Return the training and validation images of a run.

    Raises:
        DataError: They are gone, or have changed since the training.
    """
    manifest = record.manifest
    origin = manifest.provenance
    if origin.data not in DATASETS and not Path(origin.data).is_dir():
        raise DataError(
            f"the images of the run {record.run.path} are gone: there is no folder {origin.data}",
            hint="restore the folder, or train on the images where they are now: alexnet train "
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
    has_changed = origin.images and split_fingerprint(train, val) != origin.images
    if dataset.classes != manifest.classes or has_changed:
        raise DataError(
            f"the images of {dataset.name} have changed since the run {record.run.path} was "
            "trained: some of its validation images may have been training images",
            hint="restore the folder, or train again: alexnet train",
            code="images_differ",
        )
    return train, val


def make_pictures(
    source: ImageSource,
    indices_N: NDArray[np.int64],
    *,
    classes: tuple[str, ...],
    size_px: int,
    max_px: int,
) -> list[Picture]:
    """Return images as pictures for the page.

    Args:
        source: The images.
        indices_N: Indices into them.
        classes: Class names in label order.
        size_px: Side of the square from which the network's crop is taken.
        max_px: Maximal side of a picture.
    """
    chosen = source.take(indices_N)
    batches = iterate_images(chosen, size_px=size_px, batch_size=_BATCH_SIZE)
    squares = (square for batch in batches for square in batch)
    labels = chosen.labels_N.tolist()
    return [
        Picture(_data_uri(square, max_px), name, classes[label])
        for square, name, label in zip(squares, _names(chosen, indices_N), labels, strict=True)
    ]


def _data_uri(square_SS3: NDArray[np.uint8], max_px: int) -> str:
    image = Image.fromarray(square_SS3)
    if image.width > max_px:
        image = image.resize((max_px, max_px), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=_QUALITY, method=4)  # half the size of JPEG at 32 px
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _names(source: ImageSource, indices_N: NDArray[np.int64]) -> Iterator[str]:
    if not isinstance(source, ImageFolder):
        yield from (f"image {index}" for index in indices_N.tolist())
        return
    for name in source.names_N:  # a file name may have bytes that are not UTF-8
        text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        yield shorten(text, _MAX_NAME_LENGTH)


def most_confident(
    examination: Examination, indices_N: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """Return the images whose predictions are most probable, in this order."""
    confidence_N = examination.probabilities_NK[indices_N].max(axis=1)
    order = np.argsort(-confidence_N, kind="stable")[:count]
    chosen: NDArray[np.int64] = indices_N[order]
    return chosen


def choose_for_cells(
    examination: Examination, cells: Sequence[tuple[int, int]], *, max_images: int
) -> dict[tuple[int, int], NDArray[np.int64]]:
    """Choose the most confident images for cells of the confusion matrix.

    Args:
        examination: Answers of the network.
        cells: True and predicted class. If there are more cells than images, the last get none.
        max_images: Number of images in all; each cell gets at most the same number.
    """
    labels_N, predictions_N = examination.labels_N, examination.predictions_N
    members = {
        (true, predicted): np.flatnonzero((labels_N == true) & (predictions_N == predicted))
        for true, predicted in cells[:max_images]
    }

    def num_images(per_cell: int) -> int:
        return sum(min(len(each), per_cell) for each in members.values())

    per_cell = 1
    while per_cell < MAX_PER_CELL and num_images(per_cell + 1) <= max_images:
        per_cell += 1
    return {
        cell: most_confident(examination, indices_N, per_cell)
        for cell, indices_N in members.items()
    }
