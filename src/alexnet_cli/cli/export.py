"""`alexnet export`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alexnet_cli.cli.console import note, print_json
from alexnet_cli.cli.options import Json, Quiet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from alexnet_cli.cli.model_source import Trained
    from alexnet_cli.data.arrays import ImageSource
    from alexnet_cli.export.write import Exported
    from alexnet_cli.manifest import Manifest, Provenance

EXAMPLES = "Example: alexnet export --format all --shared-weights"

_NUM_DRAWN = 16


def command(
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="[MODEL]",
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
    data: Annotated[
        str | None,
        typer.Option(
            help="Without MODEL: take the newest run on this dataset or folder. With it: where the "
            "images to compare on are, when they were moved.",
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
        int, typer.Option("--parity-images", min=1, help="Images to compare on.")
    ] = 1_000,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write the best checkpoint as ONNX or safetensors, compared with PyTorch on real images."""
    from alexnet_cli.cli.model_source import open_trained
    from alexnet_cli.errors import UsageError
    from alexnet_cli.export.write import Format, export_model

    if file_format not in tuple(Format):
        raise UsageError(
            f"no format is called {file_format!r}", hint="use --format onnx, safetensors or all"
        )
    if file_format == Format.SAFETENSORS and shared_weights:
        raise UsageError("--shared-weights is for ONNX", hint="use --format onnx or all")
    trained = open_trained(model, data=data)
    folder = output or trained.folder
    _require_free(folder, trained, writes_weights=shared_weights or file_format != Format.ONNX)
    origin = trained.manifest.provenance
    epoch = f"epoch {origin.epoch}, " if origin.epoch else ""
    note(f"exporting {trained.label} ({epoch}validation top-1 {origin.val_top1:.2%})", quiet=quiet)
    images, what = _parity_images(
        trained.manifest, num_parity_images, model=model, data=data if model else None
    )
    written = export_model(
        trained.network,
        trained.manifest,
        folder,
        file_format=Format(file_format),
        shared_weights=shared_weights,
        images_BSSC=images,
    )
    _report(written, what, as_json=json, quiet=quiet)


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


def _report(written: "list[Exported]", what: str, *, as_json: bool, quiet: bool) -> None:
    for file in written:
        note(
            f"{file.path.name}: {file.num_bytes:,} bytes; logits within "
            f"{file.parity.max_logit_difference:.1e} of PyTorch on {file.parity.num_images:,} "
            f"{what}, every top class the same",
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


def _parity_images(
    manifest: "Manifest", num_images: int, *, model: Path | None, data: str | None
) -> "tuple[NDArray[np.uint8], str]":
    """Return crops to compare on, and what they are: those held out of the training, if at hand.

    Args:
        manifest: Of the model that is exported.
        num_images: At most so many.
        model: What the user calls it.
        data: Where images are now, if not where they were in training; any images will do.
    """
    import numpy as np

    from alexnet_cli.cli.model_source import drawn_crops
    from alexnet_cli.data.catalog import find_dataset
    from alexnet_cli.image import crop_centre
    from alexnet_cli.networks import PRETRAINED_DATA

    size_px, crop_px = manifest.input.image_size_px, manifest.input.crop_size_px
    if data is None and manifest.provenance.data == PRETRAINED_DATA:
        count = min(num_images, _NUM_DRAWN)
        return drawn_crops(count, image_size_px=size_px, crop_size_px=crop_px), "drawn images"
    if data is None:
        source, what = _held_out(manifest.provenance, model), "validation images"
    else:
        dataset = find_dataset(data)
        source, what = dataset.load_val() or dataset.load_train(), f"images of {dataset.name}"
    spread = np.linspace(0, len(source) - 1, min(num_images, len(source))).astype(np.int64)
    return crop_centre(source.take(spread).squares(size_px), crop_px), what


def _held_out(origin: "Provenance", model: Path | None) -> "ImageSource":
    from alexnet_cli.data.catalog import Split, find_dataset, load_split
    from alexnet_cli.errors import UsageError

    try:
        dataset = find_dataset(origin.data)
    except UsageError as error:
        named = shlex.quote(str(model)) if model else "RUN"
        error.hint = f"say where its images are now: alexnet export {named} --data FOLDER"
        raise
    return load_split(dataset, Split.VAL, val_size=origin.val_size, seed=origin.seed)
