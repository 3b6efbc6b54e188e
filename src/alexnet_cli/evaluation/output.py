"""The output of `alexnet evaluate`: metrics as tables, CSV or JSON, and the file of predictions."""

import contextlib
import csv
import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from alexnet_cli.console import (
    counted,
    csv_row,
    note,
    print_json,
    print_rich_table,
    printable,
)
from alexnet_cli.data.arrays import ImageSource
from alexnet_cli.data.corruption import NUM_SEVERITIES, Corruption, CorruptionKind, all_corruptions
from alexnet_cli.data.folder import ImageFolder
from alexnet_cli.errors import UsageError
from alexnet_cli.evaluation.measure import Measured
from alexnet_cli.evaluation.metrics import (
    NO_CLASS,
    SIGNIFICANCE,
    Comparison,
    Evaluation,
    compare,
    in_top_k,
    predicted_classes,
)
from alexnet_cli.files import atomic_move, temporary_folder, writing_error

_FEW_CLASSES = 5  # of that many, every class is among the five most probable
_CLASS_COLUMNS = ("class", "images", "precision", "recall", "f1")
_MODEL_COLUMNS = ("model", "images", "top1", "top1_low", "top1_high", "top5", "loss",
                  "calibration_error")  # fmt: skip
_PAIR_COLUMNS = ("only_first_right", "only_this_right", "difference", "difference_low",
                 "difference_high", "p_value")  # fmt: skip
_PREDICTION_COLUMNS = ("model", "index", "file", "truth", "prediction")


def print_results(
    measured: Sequence[Measured],
    labels_N: NDArray[np.int64],
    where: Mapping[str, str | int | None],
    *,
    as_csv: bool = False,
    as_json: bool = False,
) -> None:
    """Print the metrics of one model, or of several, each compared with the first.

    `where` describes the images: `data`, `split`, `corruption`, and how many were trained on. CSV
    has a row for each class of one model, or for each of several models.
    """
    first, *others = measured
    comparisons = compare_with_first(measured, labels_N)
    if as_json and others:
        print_json({**where, **_comparison_document(measured, comparisons)})
    elif as_json:
        print_json({"model": first.path, **where, **first.result.to_dict()})
    elif as_csv and others:
        columns = (*_MODEL_COLUMNS, *_PAIR_COLUMNS)
        write_csv(sys.stdout, columns, map(_model_row, measured, [None, *comparisons]))
    elif as_csv:
        write_csv(sys.stdout, _CLASS_COLUMNS, map(dataclasses.astuple, first.result.classes))
    else:
        corruption = f" with {where['corruption']}" if where["corruption"] else ""
        title = f"{where['data']} {where['split']}{corruption}"
        if others:
            _print_comparison(measured, comparisons, title=title)
        else:
            print_evaluation(first.result, title=title)


def compare_with_first(
    measured: Sequence[Measured], labels_N: NDArray[np.int64]
) -> list[Comparison]:
    first, *others = (in_top_k(each.probabilities_NK, labels_N, 1) for each in measured)
    return [compare(first, other) for other in others]


def print_evaluation(result: Evaluation, *, title: str) -> None:
    """Print the per-class table and the metrics of one model."""
    views = f", {result.num_views} views each" if result.num_views > 1 else ""
    table = Table(title=f"{escape(printable(title))}, {counted(result.num_images, 'image')}{views}")
    for column in ("class", "images", "precision", "recall", "F1"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for row in result.classes:
        if not row.num_images:  # a set need not have images of every class
            continue
        cells = (f"{value:.1%}" for value in (row.precision, row.recall, row.f1))
        table.add_row(Text(printable(row.name)), f"{row.num_images:,}", *cells)
    print_rich_table(table)
    top5 = f"   top-5 {result.top5:.2%}" if len(result.classes) > _FEW_CLASSES else ""
    print(f"{_top1(result)}{top5}   loss {result.loss:.4f}")
    error, bins = result.calibration.expected_error, result.calibration.bins
    if error is not None:
        answered = result.num_images - result.num_unanswered
        mean = sum(each.num_images * (each.mean_confidence or 0) for each in bins) / answered
        print(f"calibration error {error:.2%}; mean confidence {mean:.2%}")


def _top1(result: Evaluation) -> str:
    low, high = result.top1_interval
    return f"top-1 {result.top1:.2%} (95 %: {low:.2%} to {high:.2%})"


def _print_comparison(
    measured: Sequence[Measured], comparisons: Sequence[Comparison], *, title: str
) -> None:
    """Print a row for each model, and whether the others differ from the first."""
    first = measured[0].result
    has_top5 = len(first.classes) > _FEW_CLASSES
    table = Table(title=f"{escape(printable(title))}, {counted(first.num_images, 'image')}")
    table.add_column("")
    table.add_column("model", overflow="fold")
    columns = ("top-1", "95 % interval", *(["top-5"] if has_top5 else []), "loss")
    for column in (*columns, "calibration\nerror"):
        table.add_column(column, justify="right", no_wrap=True)
    for letter, each in zip(ascii_uppercase, measured, strict=False):
        result, error = each.result, each.result.calibration.expected_error
        cells = [f"{result.top1:.2%}", _interval(result, digits=2)]
        cells += [f"{result.top5:.2%}"] if has_top5 else []
        cells += [f"{result.loss:.4f}", "–" if error is None else f"{error:.2%}"]
        table.add_row(letter, Text(printable(each.name)), *cells)
    print_rich_table(table)
    for letter, comparison in zip(ascii_uppercase[1:], comparisons, strict=False):
        for line in _verdict(letter, comparison, num=len(comparisons)):
            print(line)


def _interval(result: Evaluation, *, digits: int) -> str:
    return "–".join(f"{100 * end:.{digits}f}" for end in result.top1_interval)


def _verdict(other: str, comparison: Comparison, *, num: int) -> tuple[str, str]:
    low, high = comparison.difference_interval
    counts = (
        f"only A right: {comparison.only_first:,}; only {other} right: {comparison.only_second:,}; "
        f"{other} - A: {100 * comparison.difference:+.2f} points "
        f"(95 %: {100 * low:+.2f} to {100 * high:+.2f})"
    )
    p = comparison.p_value
    chance = "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}"
    if num > 1:
        chance += f", of {num} comparisons"
    if not _is_significant(comparison, num=num):
        return counts, (
            f"no difference between A and {other} shown by "
            f"{counted(comparison.num_images, 'image')} ({chance})"
        )
    better, worse = (other, "A") if comparison.difference > 0 else ("A", other)
    return counts, f"{better} is better than {worse} ({chance})"


def _is_significant(comparison: Comparison, *, num: int) -> bool:
    """Return whether a difference is significant as one of several comparisons (Bonferroni)."""
    return comparison.p_value < SIGNIFICANCE / num


def _comparison_document(
    measured: Sequence[Measured], comparisons: Sequence[Comparison]
) -> dict[str, Any]:
    first, *others = measured
    return {
        "models": [{"model": each.path, **each.result.to_dict()} for each in measured],
        "comparisons": [
            {
                "first": first.path,
                "second": other.path,
                **dataclasses.asdict(comparison),
                "significant": _is_significant(comparison, num=len(comparisons)),
            }
            for other, comparison in zip(others, comparisons, strict=True)
        ],
    }


def _model_row(each: Measured, comparison: Comparison | None) -> list[Any]:
    result = each.result
    row = [each.path, result.num_images, result.top1, *result.top1_interval, result.top5]
    row += [result.to_dict()["loss"], result.calibration.expected_error]
    if comparison is None:
        return row + [None] * len(_PAIR_COLUMNS)
    row += [comparison.only_first, comparison.only_second, comparison.difference]
    return [*row, *comparison.difference_interval, comparison.p_value]


def write_csv(file: TextIO, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(csv_row(columns))
    writer.writerows(map(csv_row, rows))
    file.flush()


def report_corruptions(
    measure: Callable[[Corruption | None], Evaluation],
    *,
    where: Mapping[str, str | int | None],
    quiet: bool,
    as_json: bool,
) -> None:
    """Measure a model on the clean images and under every corruption, and print the result.

    `measure` evaluates the model under a corruption, or without; `where` names what is measured:
    `model`, `data` and `split`.
    """
    clean = measure(None)
    note(f"clean: top-1 {clean.top1:.2%}", quiet=quiet)
    results = {}
    for corruption in all_corruptions():
        results[corruption] = measure(corruption)
        note(f"{corruption}: top-1 {results[corruption].top1:.2%}", quiet=quiet)
    mean = sum(result.top1 for result in results.values()) / len(results)
    if as_json:
        rows = [
            {"corruption": str(corruption)}
            | {name: result.to_dict()[name] for name in ("top1", "top1_interval", "top5", "loss")}
            for corruption, result in results.items()
        ]
        document = {"clean": clean.to_dict(), "mean_corrupted_top1": mean, "corruptions": rows}
        print_json({**where, **document})
        return
    title = f"{where['data']} {where['split']}, {counted(clean.num_images, 'image')}"
    print_rich_table(_corruption_table(results, title=title))
    print(f"clean: {_top1(clean)}   mean of the {len(results)}: {mean:.2%}")


def _corruption_table(results: Mapping[Corruption, Evaluation], *, title: str) -> Table:
    """Lay out top-1 and its interval: a row for each kind, a column for each severity."""
    severities = range(1, NUM_SEVERITIES + 1)
    table = Table(
        title=escape(printable(title)), caption="top-1, 95 % interval; 1 mild to 5 strong"
    )
    table.add_column("corruption")
    for severity in severities:
        table.add_column(str(severity), justify="right", no_wrap=True)
    for kind in CorruptionKind:
        row = [results[Corruption(kind, severity)] for severity in severities]
        table.add_row(str(kind), *(f"{each.top1:.1%}\n{_interval(each, digits=1)}" for each in row))
    return table


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
    """Write each model's answer to each image atomically; an older file is replaced.

    A row is one image and one model, so that the columns are the same for any number of models.
    Probabilities have all their digits: rounded ones do not sum to 1.

    The suffix of `path`, `.csv` or `.jsonl`, is the format.

    Raises:
        AlexnetError: The disk is full, or the folder cannot be written to.
    """
    answers = _answers(measured, source, classes)
    with _folder_beside(path) as folder:
        part = folder / path.name
        # A file's name may hold bytes that are not text: written as on stdout.
        with part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            if path.suffix.lower() == ".csv":
                columns = (*_PREDICTION_COLUMNS, *(f"p_{name}" for name in classes))
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
            answer = dict(zip(_PREDICTION_COLUMNS, values, strict=True))
            yield answer, row if is_answered else None


@contextlib.contextmanager
def _folder_beside(path: Path) -> Iterator[Path]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(path.parent) as folder:
            yield folder
    except OSError as error:
        raise writing_error(path, error) from error
