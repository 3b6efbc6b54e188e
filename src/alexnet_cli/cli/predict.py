"""`alexnet predict`."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alexnet_cli.cli.console import note, print_json, printable, report_error, stdout_console
from alexnet_cli.cli.options import Device, Json, Quiet, TrainedOn

if TYPE_CHECKING:
    from alexnet_cli.errors import DataError
    from alexnet_cli.inference.classify import Prediction

EXAMPLES = "Example: alexnet predict photo.jpg --top-k 3 --json"


def command(
    images: Annotated[list[Path], typer.Argument(help="Image files.", show_default=False)],
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            "-m",
            help="Exported .onnx or .safetensors, run folder, or owt; the newest run's by default.",
            show_default=False,
        ),
    ] = None,
    data: TrainedOn = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Classes to name.")] = 5,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Classify images with an exported model, through ONNX Runtime and without PyTorch."""
    from alexnet_cli.inference.classify import classify_files
    from alexnet_cli.inference.session import load_model
    from alexnet_cli.runs import RunFolder, exported_model, named_model, newest_run

    path = named_model(model) if model else None
    if path is None or path.is_dir():
        path = exported_model(RunFolder(path) if path else newest_run(data=data))
    loaded = load_model(path, device=device, for_many=len(images) > 32)
    note(f"predicting with {path}, {loaded.provider}", quiet=quiet)
    if loaded.note:
        note(loaded.note)  # also when quiet: nobody falls back to the CPU unawares
    predictions = classify_files(loaded, images, top_k=top_k)
    failed = _print_lines(predictions) if json else _print_table(predictions)
    if failed:
        raise typer.Exit(1)


def _report(error: "DataError", *, as_json: bool) -> None:
    report_error(error.message, error.hint, error.code, as_json=as_json)


def _print_lines(predictions: Iterable["Prediction"]) -> bool:
    """Print JSON Lines; return whether an image failed."""
    failed = False
    for prediction in predictions:
        if prediction.error is not None:
            failed = True
            _report(prediction.error, as_json=True)
            continue
        top = [
            {"class": c.name, "index": c.index, "probability": c.probability}
            for c in prediction.top
        ]
        print_json({"file": prediction.source, **top[0], "top": top})
    return failed


def _print_table(predictions: Iterable["Prediction"]) -> bool:
    """Print one table of all images; return whether an image failed."""
    from rich.table import Table
    from rich.text import Text

    failed, table = False, Table()
    table.add_column("image", overflow="fold")
    table.add_column("class")
    table.add_column("probability", justify="right")
    for prediction in predictions:
        if prediction.error is not None:
            failed = True
            _report(prediction.error, as_json=False)
        for place, entry in enumerate(prediction.top):
            image = Text(printable(prediction.source) if place == 0 else "")
            last = 0 < place == len(prediction.top) - 1
            name, share = Text(printable(entry.name)), f"{entry.probability:.1%}"
            table.add_row(image, name, share, end_section=last)
    if table.row_count:
        stdout_console().print(table)
    return failed
