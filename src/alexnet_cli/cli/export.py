"""`alexnet export`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from alexnet_cli.cli.console import note, print_json
from alexnet_cli.cli.options import Json, Quiet

if TYPE_CHECKING:
    from alexnet_cli.cli.model_source import Trained
    from alexnet_cli.export.write import Exported

EXAMPLES = (
    "alexnet export",
    "alexnet export runs/alexnet-cifar-cifar10 --format all --shared-weights",
    "alexnet export --precision int8 --output small",
    "alexnet export --views 10",
)

_NUM_COMPARED, _NUM_CALIBRATION = 1_000, 500
_Kind = TypeVar("_Kind", bound=StrEnum)


def command(
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="MODEL",
            help="Run folder, checkpoint folder, .safetensors or owt; the newest run by default.",
            show_default=False,
        ),
    ] = None,
    file_format: Annotated[
        str, typer.Option("--format", "-f", help="onnx, safetensors or all.")
    ] = "onnx",
    shared_weights: Annotated[
        bool,
        typer.Option("--shared-weights", help="A small model.onnx that reads model.safetensors."),
    ] = False,
    precision: Annotated[
        str,
        typer.Option(
            help="fp32; int8, for CPUs, calibrated on training images; or fp16, for GPUs."
        ),
    ] = "fp32",
    views: Annotated[
        int,
        typer.Option(
            help="10: the file itself averages the paper's five crops and their mirror images."
        ),
    ] = 1,
    opset: Annotated[int, typer.Option(help="Version of the ONNX operators, 18 to 21.")] = 20,
    lrn_form: Annotated[
        str | None,
        typer.Option(
            help="native (one LRN node) or convolution, which is faster on CPUs; by default native "
            "for fp16, else convolution.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Without MODEL: take the newest run on this dataset or folder. With it: where the "
            "images to compare and calibrate on are, when they were moved.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder; that of the run or file by default.", show_default=False
        ),
    ] = None,
    num_parity_images: Annotated[
        int | None,
        typer.Option(
            "--parity-images",
            min=1,
            help="Images to compare on; 1,000, or 100 of ten views each.",
            show_default=False,
        ),
    ] = None,
    num_calibration_images: Annotated[
        int | None,
        typer.Option(
            "--calibration-images",
            min=1,
            help="Training images that int8 measures; 500, or 50 of ten views each.",
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write the best checkpoint as ONNX or safetensors, compared with PyTorch on real images.

    Beside the files goes a model card, README.md. A file that differs from the trained network
    by more than its precision explains is not written: any logit by 1e-4 in fp32; in fp16 and
    int8 the top class of 0.5 % and 3 % of the images, or 0.3 and 1 points of top-1.
    """
    from alexnet_cli.cli.export_images import ExportSources
    from alexnet_cli.cli.model_source import open_trained
    from alexnet_cli.deployment import LrnForm, Precision
    from alexnet_cli.export.settings import ExportSettings, Format
    from alexnet_cli.export.write import export_model

    settings = ExportSettings(
        _choice(Format, file_format, "--format"),
        shared_weights,
        _choice(Precision, precision, "--precision"),
        views,
        opset,
        _choice(LrnForm, lrn_form, "--lrn-form") if lrn_form else None,
    )
    settings.check()
    trained = open_trained(model, data=data)
    folder = output or trained.folder
    _require_free(folder, trained, writes_weights=settings.writes_weights)
    origin = trained.manifest.provenance
    epoch = f"epoch {origin.epoch}, " if origin.epoch else ""
    note(f"exporting {trained.label} ({epoch}validation top-1 {origin.val_top1:.2%})", quiet=quiet)
    calibrates = settings.needs_calibration
    sources = ExportSources(trained.manifest, model, data if model else None, calibrates)
    written = export_model(
        trained.network,
        trained.manifest,
        folder,
        settings,
        sources.compared(num_parity_images or _NUM_COMPARED // views),
        sources.calibration(num_calibration_images or _NUM_CALIBRATION // views)
        if calibrates
        else None,
    )
    _report(written, as_json=json, quiet=quiet)


def _choice(kind: "type[_Kind]", value: str, flag: str) -> "_Kind":
    from alexnet_cli.errors import UsageError

    if value in tuple(kind):
        return kind(value)
    raise UsageError(
        f"no {flag.removeprefix('--')} is called {value!r}",
        hint=f"use {flag} {' or '.join(kind)}",
    )


def _require_free(folder: Path, trained: "Trained", *, writes_weights: bool) -> None:
    """Refuse to write over the weights that are exported."""
    from alexnet_cli.errors import UsageError
    from alexnet_cli.training.checkpoint import STATE_FILE

    if (folder / STATE_FILE).exists():
        raise UsageError(
            f"{folder} is a checkpoint; an export would overwrite its weights",
            hint="choose another --output",
        )
    source = trained.weights
    if writes_weights and source is not None and folder.resolve() == source.parent.resolve():
        raise UsageError(
            f"{source} lies in the folder that its own copy would be written to",
            hint="choose another --output, or --format onnx alone",
        )


def _report(written: "list[Exported]", *, as_json: bool, quiet: bool) -> None:
    for file in written:
        note(f"{file.path.name}: {file.num_bytes:,} bytes; {_compared(file)}", quiet=quiet)
    if as_json:
        print_json([_to_dict(file) for file in written])
        return
    for file in written:
        print(file.path)


def _compared(file: "Exported") -> str:
    parity = file.parity
    words = f"logits within {parity.max_logit_difference:.1e} of PyTorch on "
    words += f"{parity.num_images:,} {parity.images}, "
    if parity.num_top1_different == 0:
        words += "every top class the same"
    else:
        words += f"{parity.agreement:.2%} of the top classes the same"
    if parity.num_top1_different and parity.top1_change is not None:
        words += f", top-1 {100 * parity.top1_change:+.2f} points"
    return words


def _to_dict(file: "Exported") -> dict[str, Any]:
    import dataclasses

    parity, deployment = file.parity, file.manifest.deployment
    return {
        "path": str(file.path),
        "num_bytes": file.num_bytes,
        "max_logit_difference": parity.max_logit_difference,
        "agreement": parity.agreement,
        "top1_change": parity.top1_change,
        "deployment": dataclasses.asdict(deployment) if deployment else None,
    }
