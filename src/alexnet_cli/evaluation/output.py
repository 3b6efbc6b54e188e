"""The output of `alexnet evaluate`: tables, CSV and JSON, of one model, several, or corruptions."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

from alexnet_cli.console import note, print_json, printable, stderr_console, stdout_console

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.progress import Progress
    from rich.table import Table

    from alexnet_cli.data.arrays import ImageSource
    from alexnet_cli.data.corruption import Corruption
    from alexnet_cli.evaluation.measure import Evaluation, OpenedModel
    from alexnet_cli.evaluation.metrics import Comparison


@dataclass(frozen=True)
class Measured:
    """A model and its answers.

    Attributes:
        name: What the user calls it.
        path: What it was read from.
        probabilities_NK: Float64, shape (N, K).
        result: The figures.
    """

    name: str
    path: str
    probabilities_NK: "NDArray[np.float64]"
    result: "Evaluation"


def measure(
    opened: "OpenedModel",
    source: "ImageSource",
    *,
    name: str = "",
    num_views: int | None = None,
    batch_size: int = 500,
    quiet: bool = False,
) -> Measured:
    """Evaluate a model on images, with a bar on a terminal.

    Args:
        opened: The model.
        source: The images, corrupted if they shall be.
        name: What the user calls the model; its path by default.
        num_views: Crops averaged per image; by default, what the model makes itself.
        batch_size: Images per run of the model.
        quiet: Whether there is no bar.
    """
    from alexnet_cli.evaluation.measure import predict_probabilities, summarise

    manifest, num_views = opened.manifest, num_views or opened.manifest.num_views
    path = str(opened.path)
    with _bar(len(source), name or path, quiet=quiet) as progress:
        probabilities_NK = predict_probabilities(
            opened.logits,
            source,
            spec=manifest.input,
            num_views=num_views,
            makes_views=manifest.num_views > 1,
            batch_size=batch_size,
            on_batch=lambda count: progress.advance(progress.task_ids[0], count),
        )
    result = summarise(
        probabilities_NK, source.labels_N, classes=manifest.classes, num_views=num_views
    )
    if result.num_unanswered:
        note(
            f"{opened.path} has no number for an answer to {result.num_unanswered:,} of "
            f"{result.num_images:,} images (NaN): they count as wrong"
        )
    return Measured(name or path, path, probabilities_NK, result)


def measure_corrupted(
    opened: "OpenedModel",
    source: "ImageSource",
    corruption: "Corruption | None",
    *,
    num_views: int,
    batch_size: int,
    quiet: bool,
) -> "Evaluation":
    """Evaluate a model on images that are corrupted first, or are as they are."""
    from alexnet_cli.data.corruption import corrupted

    return measure(
        opened,
        corrupted(source, corruption),
        num_views=num_views,
        batch_size=batch_size,
        quiet=quiet,
    ).result


def compare_with_first(
    measured: Sequence[Measured], labels_N: "NDArray[np.int64]"
) -> "list[Comparison]":
    """Compare the first model with each of the others."""
    from alexnet_cli.evaluation.metrics import compare, in_top_k

    first, *others = (in_top_k(each.probabilities_NK, labels_N, 1) for each in measured)
    return [compare(first, other) for other in others]


def _bar(total: int, name: str, *, quiet: bool) -> "Progress":
    from rich.markup import escape
    from rich.progress import Progress

    console = stderr_console()
    progress = Progress(console=console, disable=quiet or not console.is_terminal, transient=True)
    progress.add_task(escape(printable(f"evaluating {name}")), total=total)
    return progress


_FEW_CLASSES = 5  # of so many, every class is among the five most probable
_CLASS_COLUMNS = ("class", "images", "precision", "recall", "f1")
_MODEL_COLUMNS = ("model", "images", "top1", "top1_low", "top1_high", "top5", "loss",
                  "calibration_error")  # fmt: skip
_PAIR_COLUMNS = ("only_first_right", "only_this_right", "difference", "difference_low",
                 "difference_high", "p_value")  # fmt: skip


def print_evaluation(result: "Evaluation", *, title: str) -> None:
    """Print the per-class table and the figures of one model."""
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    views = f", {result.num_views} views each" if result.num_views > 1 else ""
    table = Table(title=f"{escape(printable(title))}, {_images(result.num_images)}{views}")
    for column in ("class", "images", "precision", "recall", "F1"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for row in result.classes:
        shares = (f"{share:.1%}" for share in (row.precision, row.recall, row.f1))
        table.add_row(Text(printable(row.name)), f"{row.num_images:,}", *shares)
    console = stdout_console()
    console.print(table)
    low, high = result.top1_interval
    top5 = "" if len(result.classes) <= _FEW_CLASSES else f"   top-5 {result.top5:.2%}"
    console.print(
        f"top-1 {result.top1:.2%} (95 %: {low:.2%} to {high:.2%}){top5}   loss {result.loss:.4f}"
    )
    if (words := _confidence(result)) is not None:
        console.print(words)


def _images(number: int) -> str:
    return "1 image" if number == 1 else f"{number:,} images"


def _confidence(result: "Evaluation") -> str | None:
    """Say how sure the model is, and how far that is from how often it is right."""
    error, bins = result.calibration.expected_error, result.calibration.bins
    if error is None:
        return None
    answered = result.num_images - result.num_unanswered
    sure = sum(each.num_images * (each.mean_confidence or 0) for each in bins) / answered
    return f"calibration error {error:.2%}; on average {sure:.2%} sure of the first class"


def print_comparison(
    measured: Sequence[Measured], comparisons: "Sequence[Comparison]", *, title: str
) -> None:
    """Print a row for each model, and whether the others differ from the first."""
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    first = measured[0].result
    has_top5 = len(first.classes) > _FEW_CLASSES
    table = Table(title=f"{escape(printable(title))}, {_images(first.num_images)}")
    table.add_column("")
    table.add_column("model", overflow="fold")
    columns = ("top-1", "95 % interval", *(["top-5"] if has_top5 else []), "loss")
    for column in (*columns, "calibration\nerror"):
        table.add_column(column, justify="right", no_wrap=True)
    for letter, each in zip(ascii_uppercase, measured, strict=False):
        result, error = each.result, each.result.calibration.expected_error
        low, high = result.top1_interval
        cells = [f"{result.top1:.2%}", f"{100 * low:.2f}–{100 * high:.2f}"]
        cells += [f"{result.top5:.2%}"] if has_top5 else []
        cells += [f"{result.loss:.4f}", "–" if error is None else f"{error:.2%}"]
        table.add_row(letter, Text(printable(each.name)), *cells)
    console = stdout_console()
    console.print(table)
    for letter, comparison in zip(ascii_uppercase[1:], comparisons, strict=False):
        for line in _verdict(letter, comparison, num=len(comparisons)):
            console.print(line, soft_wrap=True)


def _verdict(other: str, comparison: "Comparison", *, num: int) -> tuple[str, str]:
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
    if not is_shown(comparison, num=num):
        return counts, (
            f"no difference between A and {other} shown by {_images(comparison.num_images)} "
            f"({chance})"
        )
    better, worse = (other, "A") if comparison.difference > 0 else ("A", other)
    return counts, f"{better} is better than {worse} ({chance})"


def is_shown(comparison: "Comparison", *, num: int) -> bool:
    """Tell whether a difference is more than chance, as one of several comparisons (Bonferroni)."""
    from alexnet_cli.evaluation.metrics import SIGNIFICANCE

    return comparison.p_value < SIGNIFICANCE / num


def comparison_document(
    measured: Sequence[Measured], comparisons: "Sequence[Comparison]"
) -> dict[str, Any]:
    """Return the figures of several models as plain data for JSON."""
    import dataclasses

    first, *others = measured
    return {
        "models": [{"model": each.path, **each.result.to_dict()} for each in measured],
        "comparisons": [
            {
                "first": first.path,
                "second": other.path,
                **dataclasses.asdict(comparison),
                "significant": is_shown(comparison, num=len(comparisons)),
            }
            for other, comparison in zip(others, comparisons, strict=True)
        ],
    }


def print_class_rows(result: "Evaluation") -> None:
    """Print the per-class table as CSV."""
    rows = [(row.name, row.num_images, row.precision, row.recall, row.f1) for row in result.classes]
    _print_csv([_CLASS_COLUMNS, *rows])


def print_model_rows(measured: Sequence[Measured], comparisons: "Sequence[Comparison]") -> None:
    """Print the figures of several models as CSV, compared with the first."""
    rows = []
    for each, comparison in zip(measured, [None, *comparisons], strict=True):
        figures, result = each.result.to_dict(), each.result
        row = [each.path, result.num_images, result.top1, *result.top1_interval, result.top5]
        row += [figures["loss"], result.calibration.expected_error]
        if comparison is None:
            row += [None] * len(_PAIR_COLUMNS)
        else:
            row += [comparison.only_first, comparison.only_second, comparison.difference]
            row += [*comparison.difference_interval, comparison.p_value]
        rows.append(row)
    _print_csv([(*_MODEL_COLUMNS, *_PAIR_COLUMNS), *rows])


def _print_csv(rows: Sequence[Sequence[Any]]) -> None:
    import csv

    csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
    sys.stdout.flush()


Results = Mapping["Corruption", "Evaluation"]

_FIGURES = ("top1", "top1_interval", "top5", "loss")


def report_corruptions(
    measure: "Callable[[Corruption | None], Evaluation]",
    *,
    where: Mapping[str, str],
    quiet: bool,
    as_json: bool,
) -> None:
    """Measure a model on the images as they are and under every corruption, and print the result.

    Args:
        measure: Evaluates the model under a corruption, or without.
        where: What is measured: `model`, `data` and `split`.
        quiet: Whether to leave out a line for each measurement.
        as_json: Whether the result is for programs.
    """
    from alexnet_cli.data.corruption import all_corruptions

    clean = measure(None)
    note(f"clean: top-1 {clean.top1:.2%}", quiet=quiet)
    results = {}
    for corruption in all_corruptions():
        results[corruption] = measure(corruption)
        note(f"{corruption}: top-1 {results[corruption].top1:.2%}", quiet=quiet)
    if as_json:
        print_json({**where, **_document(clean, results)})
        return
    title = f"{where['data']} {where['split']}, {clean.num_images:,} images"
    console = stdout_console()
    console.print(_table(results, title=title))
    low, high = clean.top1_interval
    console.print(
        f"clean: top-1 {clean.top1:.2%} (95 %: {low:.2%} to {high:.2%})   "
        f"mean of the {len(results)}: {_mean_top1(results):.2%}"
    )


def _mean_top1(results: Results) -> float:
    return sum(result.top1 for result in results.values()) / len(results)


def _document(clean: "Evaluation", results: Results) -> dict[str, Any]:
    return {
        "clean": clean.to_dict(),
        "mean_corrupted_top1": _mean_top1(results),
        "corruptions": [
            {"corruption": str(corruption)} | {name: result.to_dict()[name] for name in _FIGURES}
            for corruption, result in results.items()
        ],
    }


def _table(results: Results, *, title: str) -> "Table":
    """Lay out top-1 and its interval: a row for each kind, a column for each severity."""
    from rich.markup import escape
    from rich.table import Table

    from alexnet_cli.data.corruption import NUM_SEVERITIES, Corruption, CorruptionKind

    severities = range(1, NUM_SEVERITIES + 1)
    table = Table(
        title=escape(printable(title)), caption="top-1, 95 % interval; 1 mild to 5 strong"
    )
    table.add_column("corruption")
    for severity in severities:
        table.add_column(str(severity), justify="right", no_wrap=True)
    for kind in CorruptionKind:
        row = [results[Corruption(kind, severity)] for severity in severities]
        cells = [f"{each.top1:.1%}\n{_interval(each.top1_interval)}" for each in row]
        table.add_row(str(kind), *cells)
    return table


def _interval(ends: tuple[float, float]) -> str:
    low, high = ends
    return f"{100 * low:.1f}–{100 * high:.1f}"
