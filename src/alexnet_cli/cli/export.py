"""`alexnet export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alexnet_cli.cli.console import note, print_json
from alexnet_cli.cli.options import Json, ModelPath, Quiet, TrainedOn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from alexnet_cli.export.write import Exported
    from alexnet_cli.training.checkpoint import Checkpoint

EXAMPLES = "Example: alexnet export --format all --shared-weights"


def command(
    model: ModelPath = None,
    file_format: Annotated[
        str, typer.Option("--format", "-f", help="onnx, safetensors or all.")
    ] = "onnx",
    shared_weights: Annotated[
        bool,
        typer.Option("--shared-weights", help="A small model.onnx that reads model.safetensors."),
    ] = False,
    data: TrainedOn = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder; the run folder by default.", show_default=False
        ),
    ] = None,
    num_parity_images: Annotated[
        int, typer.Option("--parity-images", min=1, help="Validation images to compare on.")
    ] = 1_000,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write the best checkpoint as ONNX or safetensors, compared with PyTorch on real images."""
    from alexnet_cli.cli.model_source import find_checkpoint, load_network
    from alexnet_cli.errors import UsageError
    from alexnet_cli.export.write import Format, export_model
    from alexnet_cli.training.checkpoint import STATE_FILE

    if file_format not in tuple(Format):
        raise UsageError(
            f"no format is called {file_format!r}", hint="use --format onnx, safetensors or all"
        )
    if file_format == Format.SAFETENSORS and shared_weights:
        raise UsageError("--shared-weights is for ONNX", hint="use --format onnx or all")
    checkpoint = find_checkpoint(model, data=data)
    epoch, top1 = checkpoint.manifest.provenance.epoch, checkpoint.manifest.provenance.val_top1
    note(f"exporting {checkpoint.folder} (epoch {epoch}, validation top-1 {top1:.2%})", quiet=quiet)
    folder = output or _run_folder(checkpoint.folder)
    if (folder / STATE_FILE).exists():
        raise UsageError(
            f"{folder} is a checkpoint; an export would overwrite its weights",
            hint="choose another --output",
        )
    written = export_model(
        load_network(checkpoint),
        checkpoint.manifest,
        folder,
        file_format=Format(file_format),
        shared_weights=shared_weights,
        images_BSSC=_parity_images(checkpoint, num_parity_images),
    )
    _report(written, as_json=json, quiet=quiet)


def _report(written: "list[Exported]", *, as_json: bool, quiet: bool) -> None:
    for file in written:
        note(
            f"{file.path.name}: {file.num_bytes:,} bytes; logits within "
            f"{file.parity.max_logit_difference:.1e} of PyTorch on {file.parity.num_images:,} "
            "validation images, every top class the same",
            quiet=quiet,
        )
    if as_json:
        print_json(
            [
                {
                    "path": str(file.path),
                    "num_bytes": file.num_bytes,
                    "max_logit_difference": file.parity.max_logit_difference,
                }
                for file in written
            ]
        )
        return
    for file in written:
        print(file.path)


def _run_folder(checkpoint: Path) -> Path:
    """Return the run of a checkpoint folder, as seen from the working folder if it lies below."""
    run = checkpoint.resolve().parent.parent
    return run.relative_to(Path.cwd()) if run.is_relative_to(Path.cwd()) else run


def _parity_images(checkpoint: "Checkpoint", num_images: int) -> "NDArray[np.uint8]":
    import numpy as np

    from alexnet_cli.data.catalog import Split, find_dataset, load_split
    from alexnet_cli.image import crop_centre

    origin, spec = checkpoint.manifest.provenance, checkpoint.manifest.input
    source = load_split(
        find_dataset(origin.data), Split.VAL, val_size=origin.val_size, seed=origin.seed
    )
    some = source.take(np.arange(min(num_images, len(source))))
    return crop_centre(some.squares(spec.image_size_px), spec.crop_size_px)
