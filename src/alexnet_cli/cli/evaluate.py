"""`alexnet evaluate`."""

import functools
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alexnet_cli.cli.console import note, print_json, printable, stderr_console, stdout_console
from alexnet_cli.cli.options import Device, Json, ModelPath, Quiet

if TYPE_CHECKING:
    from rich.progress import Progress

    from alexnet_cli.cli.model_source import OpenedModel
    from alexnet_cli.data.arrays import ImageSource
    from alexnet_cli.data.catalog import Dataset, Split
    from alexnet_cli.data.corruption import Corruption
    from alexnet_cli.evaluation.evaluate import Evaluation
    from alexnet_cli.manifest import Provenance

EXAMPLES = (
    "alexnet evaluate",
    "alexnet evaluate runs/alexnet-cifar-cifar10 --views 10",
    "alexnet evaluate model.onnx --data cifar10.1",
    "alexnet evaluate --corrupt jpeg:3",
    "alexnet evaluate --split val --json",
)

_NUM_NAMED = 5  # classes that a message names
_ALL = "all"


def command(
    model: ModelPath = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Dataset or folder; the one it was trained on by default.", show_default=False
        ),
    ] = None,
    split: Annotated[
        str, typer.Option(help="test, or val: the images held out in training.")
    ] = "test",
    views: Annotated[
        int | None,
        typer.Option(
            help="Crops averaged per image: 1, 5, 9, or the paper's 10; by default 1, or those "
            "that an exported file makes itself.",
            show_default=False,
        ),
    ] = None,
    corrupt: Annotated[
        str | None,
        typer.Option(
            metavar="KIND:1..5",
            help="Make the images worse first: noise, blur, jpeg or contrast, mild (1) to strong "
            "(5), as in CIFAR-10-C; all: a table of every one.",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", "-b", min=1, help="Images per run of the model.")
    ] = 500,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Measure a model: top-1 with its 95 % interval, top-5, loss, and each class."""
    from alexnet_cli.cli.corruptions import report_corruptions
    from alexnet_cli.cli.model_source import open_model
    from alexnet_cli.data.catalog import Split
    from alexnet_cli.data.corruption import parse_corruption
    from alexnet_cli.errors import DataError, UsageError
    from alexnet_cli.manifest import data_name

    if split not in tuple(Split):
        raise UsageError(f"no split is called {split!r}", hint="use --split test or --split val")
    chosen = parse_corruption(corrupt) if corrupt is not None and corrupt != _ALL else None
    opened = open_model(model, device=device)
    num_views = _num_views(opened, views)
    note(f"evaluating {opened.label}", quiet=quiet)
    if opened.note:
        note(opened.note)  # also when quiet: nobody falls back to the CPU unawares
    name = data_name(data) if data else opened.manifest.provenance.data
    try:
        source = load_images(opened, name, Split(split))
    except DataError as error:
        if error.code == "no_test_split":
            error.hint = f"measure on the images held out: {_on_val(model, data)}"
        raise
    measure_one = functools.partial(
        measure_images, opened, source, num_views=num_views, batch_size=batch_size, quiet=quiet
    )
    where = {"model": str(opened.path), "data": name, "split": split}
    if corrupt == _ALL:
        report_corruptions(measure_one, where=where, quiet=quiet, as_json=json)
        return
    result = measure_one(chosen)
    if json:
        print_json({**where, "corruption": str(chosen) if chosen else None, **result.to_dict()})
    else:
        suffix = f" with {chosen}" if chosen else ""
        print_evaluation(result, title=f"{name} {split}{suffix}")


def _num_views(opened: "OpenedModel", asked: int | None) -> int:
    """Return how many views are averaged, inside the model or outside.

    Raises:
        UsageError: The model makes another number itself.
    """
    from alexnet_cli.errors import UsageError

    inside = opened.manifest.num_views
    if inside > 1 and asked not in (None, inside):
        raise UsageError(
            f"{opened.path} averages {inside} views by itself, not {asked}",
            hint="leave --views out, or name a run, or a file that was exported without --views",
        )
    return asked or inside


def _on_val(model: Path | None, data: str | None) -> str:
    named = [str(model)] if model else []
    named += ["--data", data] if data else []
    return shlex.join(["alexnet", "evaluate", *named, "--split", "val"])


def measure(
    opened: "OpenedModel", data: str, split: "Split", *, quiet: bool = False
) -> "Evaluation":
    """Evaluate a model on a part of a dataset, with a bar on a terminal.

    Raises:
        UsageError: The model knows other classes than the dataset.
    """
    return measure_images(opened, load_images(opened, data, split), quiet=quiet)


def load_images(opened: "OpenedModel", data: str, split: "Split") -> "ImageSource":
    """Return the images of a part of a dataset, as they fit a model.

    Raises:
        UsageError: The model knows other classes than the dataset.
    """
    from alexnet_cli.data.catalog import Split, find_dataset, load_split
    from alexnet_cli.errors import UsageError

    manifest, dataset = opened.manifest, find_dataset(data)
    origin = manifest.provenance
    if dataset.classes != manifest.classes:
        raise UsageError(
            f"{opened.path} knows other classes than {dataset.name}: "
            + _differing(known=manifest.classes, there=dataset.classes),
            hint=f"evaluate it on {origin.data}, whose classes it knows: --data "
            f"{shlex.quote(origin.data)}",
            code="classes_differ",
        )
    if split is Split.VAL:
        _require_same_division(dataset, origin)
    return load_split(dataset, split, val_size=origin.val_size, seed=origin.seed)


def measure_images(
    opened: "OpenedModel",
    source: "ImageSource",
    corruption: "Corruption | None" = None,
    *,
    num_views: int | None = None,
    batch_size: int = 500,
    quiet: bool = False,
) -> "Evaluation":
    """Evaluate a model on images, corrupted first if that is asked for.

    Args:
        opened: The model.
        source: The images.
        corruption: How they are made worse.
        num_views: Crops averaged per image; by default, what the model makes itself.
        batch_size: Images per run of the model.
        quiet: Whether there is no bar.
    """
    from alexnet_cli.data.corruption import corrupted
    from alexnet_cli.evaluation.evaluate import evaluate

    with _bar(len(source), quiet=quiet) as progress:
        return evaluate(
            opened.logits,
            corrupted(source, corruption),
            spec=opened.manifest.input,
            classes=opened.manifest.classes,
            num_views=num_views or opened.manifest.num_views,
            makes_views=opened.manifest.num_views > 1,
            batch_size=batch_size,
            on_batch=lambda count: progress.advance(progress.task_ids[0], count),
        )


def _require_same_division(dataset: "Dataset", origin: "Provenance") -> None:
    """Refuse to call images held out that may have been trained on."""
    from alexnet_cli.data.catalog import load_training
    from alexnet_cli.data.split import describe_split
    from alexnet_cli.errors import UsageError

    if dataset.name != origin.data or not origin.images:
        return
    now = describe_split(*load_training(dataset, val_size=origin.val_size, seed=origin.seed))
    if now != origin.images:
        raise UsageError(
            f"the images of {dataset.name} are no longer those of the training, so that some of "
            f"its validation images may have been trained on: {origin.images} then, {now} now",
            hint="put the folder back as it was, or measure on images of its test/ folder",
            code="images_differ",
        )


def _differing(*, known: tuple[str, ...], there: tuple[str, ...]) -> str:
    """Say which classes are on one side only."""
    parts = []
    for words, names, others in (("it lacks", known, there), ("it also has", there, known)):
        only = [name for name in names if name not in set(others)]
        if only:
            more = f" and {len(only) - _NUM_NAMED:,} more" if len(only) > _NUM_NAMED else ""
            parts.append(f"{words} {', '.join(only[:_NUM_NAMED])}{more}")
    return "; ".join(parts) or "they are in another order"


def _bar(total: int, *, quiet: bool) -> "Progress":
    from rich.progress import Progress

    console = stderr_console()
    progress = Progress(console=console, disable=quiet or not console.is_terminal, transient=True)
    progress.add_task("evaluating", total=total)
    return progress


def print_evaluation(result: "Evaluation", *, title: str) -> None:
    """Print the per-class table and the figures."""
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    views = f", {result.num_views} views each" if result.num_views > 1 else ""
    table = Table(title=f"{escape(printable(title))}, {result.num_images:,} images{views}")
    for column in ("class", "images", "precision", "recall", "F1"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for row in result.classes:
        shares = (f"{share:.1%}" for share in (row.precision, row.recall, row.f1))
        table.add_row(Text(printable(row.name)), f"{row.num_images:,}", *shares)
    console = stdout_console()
    console.print(table)
    low, high = result.top1_interval
    console.print(
        f"top-1 {result.top1:.2%} (95 %: {low:.2%} to {high:.2%})   "
        f"top-5 {result.top5:.2%}   loss {result.loss:.4f}"
    )
