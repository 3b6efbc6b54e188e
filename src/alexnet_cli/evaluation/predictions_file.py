"""The file of `alexnet evaluate --predictions`: what each model answered to each image.

CSV or JSON Lines by its suffix. One row for an image and a model, so that the columns are the same
for any number of models. Probabilities have all their digits: rounded ones do not sum to 1.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from alexnet_cli.data.arrays import ImageSource
from alexnet_cli.data.folder import ImageFolder
from alexnet_cli.errors import UsageError
from alexnet_cli.evaluation.measure import Measured
from alexnet_cli.evaluation.metrics import NO_CLASS, predicted_classes
from alexnet_cli.evaluation.output import write_csv
from alexnet_cli.files import atomic_move, temporary_folder, writing_error

_COLUMNS = ("model", "index", "file", "truth", "prediction")


def require_writable(path: Path) -> None:
    """Refuse a predictions file that could not be written, before anything is measured.

    Raises:
        UsageError: It is neither CSV nor JSON Lines by its name, or a folder.
        AlexnetError: Its folder cannot be written to.
    """
    hint = "use --predictions predictions.csv or --predictions predictions.jsonl"
    if path.is_dir():
        raise UsageError(f"{path} is a folder; --predictions needs a file", hint=hint)
    if path.suffix.lower() not in (".csv", ".jsonl"):
        raise UsageError(f"--predictions writes .csv or .jsonl, and {path} is neither", hint=hint)
    with _folder_beside(path):
        pass


def write_predictions(
    path: Path, measured: Sequence[Measured], source: ImageSource, classes: tuple[str, ...]
) -> None:
    """Write the answers atomically; an older file is replaced.

    Args:
        path: Named `.csv` or `.jsonl`.
        measured: The models.
        source: The images, in the order of their answers.
        classes: Names in label order.

    Raises:
        AlexnetError: The disk is full, or the folder cannot be written to.
    """
    answers = _answers(measured, source, classes)
    with _folder_beside(path) as folder:
        part = folder / path.name
        # A file's name may hold bytes that are not text: written as on stdout.
        with part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            if path.suffix.lower() == ".csv":
                columns = (*_COLUMNS, *(f"p_{name}" for name in classes))
                nothing = [""] * len(classes)
                rows = ((*answer.values(), *(row or nothing)) for answer, row in answers)
                write_csv(file, columns, rows)
            else:
                for answer, row in answers:
                    probabilities = row and dict(zip(classes, row, strict=True))
                    document = {**answer, "probabilities": probabilities}
                    file.write(json.dumps(document, allow_nan=False) + "\n")
        atomic_move(part, path)


def _answers(
    measured: Sequence[Measured], source: ImageSource, classes: tuple[str, ...]
) -> Iterator[tuple[dict[str, Any], list[float] | None]]:
    """Yield the columns and the probabilities of each model's answer, image by image.

    An answer of NaN has neither a prediction nor probabilities.
    """
    files = source.paths() if isinstance(source, ImageFolder) else [None] * len(source)
    predictions = [predicted_classes(each.probabilities_NK).tolist() for each in measured]
    for index, (file, label) in enumerate(zip(files, source.labels_N.tolist(), strict=True)):
        for each, predicted in zip(measured, predictions, strict=True):
            row = each.probabilities_NK[index].tolist()
            is_answered = predicted[index] != NO_CLASS
            prediction = classes[predicted[index]] if is_answered else None
            values = (each.path, index, file and str(file), classes[label], prediction)
            answer = dict(zip(_COLUMNS, values, strict=True))
            yield answer, row if is_answered else None


@contextlib.contextmanager
def _folder_beside(path: Path) -> Iterator[Path]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(path.parent) as folder:
            yield folder
    except OSError as error:
        raise writing_error(path, error) from error
