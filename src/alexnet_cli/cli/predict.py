"""`alexnet predict`: its flags; `prediction` runs it."""

from pathlib import Path
from typing import Annotated

import typer

from alexnet_cli.cli.options import DeviceOrTensorrt, Json, Quiet, TrainedOn, choose
from alexnet_cli.cli.predict_request import DEFAULTS, MAX_BATCH_SIZE, PredictRequest

EXAMPLES = (
    "alexnet predict photo.jpg --top-k 3",
    "alexnet predict photos/ --csv > answers.csv",
    "alexnet predict 'photos/**/*.png' --json",
    "alexnet predict - < photo.jpg",
    "find . -name '*.jpg' -print0 | alexnet predict --files-from - --copy-to sorted",
)


def command(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGES",
            help="Files, folders (recursively), quoted patterns ('*.png', 'photos/**'), or - for "
            "an image on stdin.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            "-m",
            help="Exported .onnx or .safetensors, run folder, or owt; the newest run's by default.",
            show_default=False,
        ),
    ] = DEFAULTS.model,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Of a run, use the file in fp32, fp16 or int8; by default fp32, or what there is.",
            show_default=False,
        ),
    ] = DEFAULTS.precision,
    data: TrainedOn = DEFAULTS.data,
    files_from: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Classify the files listed in FILE, one per line or separated by NUL; - is stdin.",
            show_default=False,
        ),
    ] = DEFAULTS.files_from,
    top_k: Annotated[
        int, typer.Option("--top-k", "-k", min=1, help="Number of classes to print.")
    ] = DEFAULTS.top_k,
    threshold: Annotated[
        float,
        typer.Option(min=0, max=1, help="Hide classes below this probability."),
    ] = DEFAULTS.threshold,
    batch_size: Annotated[
        int,
        typer.Option("--batch-size", "-b", min=1, max=MAX_BATCH_SIZE, help="Images per batch."),
    ] = DEFAULTS.batch_size,
    copy_to: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Also copy each image into FOLDER/CLASS/; nothing is moved or overwritten.",
            show_default=False,
        ),
    ] = DEFAULTS.copy_to,
    device: DeviceOrTensorrt = DEFAULTS.device,
    csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV, one row per class.")
    ] = DEFAULTS.csv,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print provider, threads, times and images/s.")
    ] = DEFAULTS.verbose,
    quiet: Quiet = DEFAULTS.quiet,
    json: Json = DEFAULTS.json,
) -> None:
    """Classify images with an exported model, through ONNX Runtime and without PyTorch."""
    from alexnet_cli.cli.prediction import predict
    from alexnet_cli.manifest import ExportPrecision

    wanted = None if precision is None else choose(ExportPrecision, precision, "--precision")
    status = predict(
        PredictRequest(
            tuple(images or ()), model, wanted, data, files_from, top_k, threshold, batch_size,
            copy_to, device, csv, verbose, quiet, json,
        )
    )  # fmt: skip
    if status:
        raise typer.Exit(status)
