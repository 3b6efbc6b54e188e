"""The file of `alexnet evaluate --predictions`: what each model answered to each image.

CSV or JSON Lines by its suffix. One row for an image and a model, so that the columns are the same
for any number of models. Probabilities have all their digits: rounded ones do not sum to 1.
"""

import contextlib
import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from alexnet_cli.errors import UsageError
from alexnet_cli.evaluation.output import Measured
from alexnet_cli.files import atomic_move, temporary_folder, writing_error

if TYPE_CHECKING:
    from alexnet_cli.data.arrays import ImageSource


_CSV, _JSON_LINES = ".csv", ".jsonl"
_HINT = "use --predictions predictions.csv or --predictions predictions.jsonl"


@dataclass(frozen=True)
class _Answer:
    """One model's answer to one image; nothing for a prediction that is no number."""

    model: str
    index: int
    file: str | None
    truth: str
    prediction: str | None
    probabilities: list[float] | None


def require_writable(path: Path) -> None:
    """Refuse a file that could not be written at the end, before anything is measured.

    Raises:
        UsageError: It is neither CSV nor JSON Lines by its name, or a folder.
        AlexnetError: Its folder cannot be written to.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder; --predictions needs a file", hint=_HINT)
    if path.suffix.lower() not in (_CSV, _JSON_LINES):
        raise UsageError(
            f"--predictions writes {_CSV} or {_JSON_LINES}, and {path} is neither", hint=_HINT
        )
    with _folder_beside(path):
        pass


def write_predictions(
    path: Path, measured: Sequence[Measured], source: "ImageSource", classes: tuple[str, ...]
) -> None:
    """Write the answers, all or none; an older file is replaced.

    Args:
        path: Named `.csv` or `.jsonl`.
        measured: The models.
        source: The images in the order of their answers.
        classes: Names in label order.

    Raises:
        AlexnetError: The disk is full, or the folder cannot be written to.
    """
    answers = _answers(measured, source, classes)
    with _folder_beside(path) as folder:
        part = folder / path.name
        # A file's name may hold bytes that are no text: written as on stdout.
        with part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            if path.suffix.lower() == _CSV:
                _write_csv(file, answers, classes)
            else:
                _write_json_lines(file, answers, classes)
        atomic_move(part, path)


@contextlib.contextmanager
def _folder_beside(path: Path) -> Iterator[Path]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(path.parent) as folder:
            yield folder
    except OSError as error:
        raise writing_error(path, error) from error


def _answers(
    measured: Sequence[Measured], source: "ImageSource", classes: tuple[str, ...]
) -> Iterator[_Answer]:
    """Yield the answers to an image one after the other, image by image."""
    from alexnet_cli.data.folder import ImageFolder
    from alexnet_cli.evaluation.metrics import NO_CLASS, predicted_classes

    files = source.paths() if isinstance(source, ImageFolder) else [None] * len(source)
    predictions = [predicted_classes(each.probabilities_NK).tolist() for each in measured]
    for index, (file, label) in enumerate(zip(files, source.labels_N.tolist(), strict=True)):
        for each, predicted in zip(measured, predictions, strict=True):
            place = predicted[index]
            row = each.probabilities_NK[index].tolist()
            yield _Answer(
                model=each.path,
                index=index,
                file=None if file is None else str(file),
                truth=classes[label],
                prediction=None if place == NO_CLASS else classes[place],
                probabilities=None if place == NO_CLASS else row,
            )


def _write_csv(file: TextIO, answers: Iterator[_Answer], classes: tuple[str, ...]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    names = ("model", "index", "file", "truth", "prediction")
    writer.writerow((*names, *(f"p_{name}" for name in classes)))
    for each in answers:
        row = (each.model, each.index, each.file, each.truth, each.prediction)
        writer.writerow((*row, *(each.probabilities or ("",) * len(classes))))


def _write_json_lines(file: TextIO, answers: Iterator[_Answer], classes: tuple[str, ...]) -> None:
    for each in answers:
        document: dict[str, Any] = {
            "model": each.model,
            "index": each.index,
            "file": each.file,
            "truth": each.truth,
            "prediction": each.prediction,
            "probabilities": each.probabilities
            and dict(zip(classes, each.probabilities, strict=True)),
        }
        file.write(json.dumps(document, allow_nan=False) + "\n")
