"""The table of `alexnet evaluate --corrupt all`."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from alexnet_cli.cli.console import note, print_json, printable, stdout_console

if TYPE_CHECKING:
    from rich.table import Table

    from alexnet_cli.data.corruption import Corruption
    from alexnet_cli.evaluation.evaluate import Evaluation

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
