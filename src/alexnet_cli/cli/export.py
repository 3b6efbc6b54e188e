"""`alexnet export`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alexnet_cli.cli.options import Json, Quiet, choose
from alexnet_cli.console import note, print_json
from alexnet_cli.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from alexnet_cli.data.arrays import ImageSource
    from alexnet_cli.data.datasets import Dataset
    from alexnet_cli.export.settings import Compared
    from alexnet_cli.export.write import Exported
    from alexnet_cli.manifest import Manifest
    from alexnet_cli.training.open_model import Trained

EXAMPLES = (
    "alexnet export",
    "alexnet export runs/alexnet-cifar-cifar10 --format all --shared-weights",
    "alexnet export --precision int8 --output small",
    "alexnet export --views 10",
)

_NUM_COMPARED, _NUM_CALIBRATION, _NUM_DRAWN = 1_000, 500, 16


def command(
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="MODEL",
            help="Run folder, checkpoint folder, .safetensors or owt; the newest run by default.",
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
            "for fp16, else convolution."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Without MODEL: take the newest run on this dataset or folder. With it: where the "
            "images to compare and calibrate on are, if they were moved."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder; that of the run or file by default."),
    ] = None,
    num_parity_images: Annotated[
        int | None,
        typer.Option(
            "--parity-images", min=1, help="Images to compare on; 1,000, or 100 of ten views each."
        ),
    ] = None,
    num_calibration_images: Annotated[
        int | None,
        typer.Option(
            "--calibration-images",
            min=1,
            help="Training images that int8 measures; 500, or 50 of ten views each.",
        ),
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write the best checkpoint as ONNX or safetensors, compared with PyTorch on real images.

    A model card, README.md, goes with the files. A file that differs from the trained network
    by more than its precision explains is not written: any logit by 1e-4 in fp32; in fp16 and
    int8 the top class of 0.5 % and 3 % of the images, or 0.3 and 1 points of top-1.
    """
    from alexnet_cli.export.settings import ExportSettings, Format
    from alexnet_cli.export.write import export_model
    from alexnet_cli.manifest import ExportPrecision, LrnForm
    from alexnet_cli.training.open_model import open_trained

    settings = ExportSettings(
        choose(Format, file_format, "--format"),
        shared_weights,
        choose(ExportPrecision, precision, "--precision"),
        views,
        opset,
        choose(LrnForm, lrn_form, "--lrn-form") if lrn_form else None,
    )
    settings.check()
    trained = open_trained(model, data=data)
    folder = output or trained.folder
    _require_free(folder, trained, writes_weights=settings.writes_weights)
    origin = trained.manifest.provenance
    epoch = f"epoch {origin.epoch}, " if origin.epoch else ""
    note(f"exporting {trained.label} ({epoch}validation top-1 {origin.val_top1:.2%})", quiet=quiet)
    compared, calibration = load_images(
        trained.manifest,
        model,
        data if model else None,
        num_compared=num_parity_images or _NUM_COMPARED // views,
        num_calibration=(num_calibration_images or _NUM_CALIBRATION // views)
        if settings.needs_calibration
        else 0,
    )
    written = export_model(
        trained.network, trained.manifest, folder, settings, compared, calibration
    )
    _report(written, as_json=json, quiet=quiet)


def load_images(
    manifest: "Manifest",
    model: Path | None,
    data: str | None,
    *,
    num_compared: int,
    num_calibration: int,
) -> "tuple[Compared, NDArray[np.uint8] | None]":
    """Return images to compare an export on, and squares of training images to calibrate int8 with.

    The images are those of the training, if available: held-out ones to compare on. `data` names
    other images to use. None are test images. Both numbers are maxima; the images are spread over
    all there are.

    Raises:
        UsageError: The images are not where they were; the hint repeats `model`.
    """
    from alexnet_cli.data.datasets import find_dataset, load_training
    from alexnet_cli.export.settings import Compared
    from alexnet_cli.networks import PRETRAINED_DATA
    from alexnet_cli.training.open_model import drawn_crops

    size_px, origin = manifest.input.image_size_px, manifest.provenance
    if data is None and origin.data == PRETRAINED_DATA:
        count = min(num_compared, _NUM_DRAWN)
        drawn = drawn_crops(count, image_size_px=size_px, crop_size_px=size_px)
        return Compared(drawn, name="drawn images"), None
    try:
        dataset = find_dataset(data or origin.data)
    except UsageError as error:
        if data is None:
            named = shlex.quote(str(model)) if model else "RUN"
            error.hint = f"name the folder of its images: alexnet export {named} --data FOLDER"
        raise
    if data is None:
        train, others = load_training(dataset, val_size=origin.val_setting, seed=origin.seed)
    else:
        train, others = _split(dataset, is_calibrated=num_calibration > 0)
    chosen = _spread(others, num_compared)
    labels_B = chosen.labels_N if dataset.classes == manifest.classes else None
    name = f"images of {dataset.name}" if data else "validation images"
    compared = Compared(chosen.load_images(size_px), labels_B, name)
    if not num_calibration:
        return compared, None
    return compared, _spread(train, num_calibration).load_images(size_px)


def _split(dataset: "Dataset", *, is_calibrated: bool) -> "tuple[ImageSource, ImageSource]":
    """Return training images, and others where an export calibrated on the former needs them."""
    import numpy as np

    train, val = dataset.load_train(), dataset.load_val()
    if val is not None or not is_calibrated:
        return train, train if val is None else val
    numbers = np.arange(len(train))  # of one image there is only itself
    return train.take(numbers[1::2] if len(numbers) > 1 else numbers), train.take(numbers[::2])


def _spread(source: "ImageSource", num_images: int) -> "ImageSource":
    import numpy as np

    count = min(num_images, len(source))
    return source.take(np.linspace(0, len(source) - 1, count).astype(np.int64))


def _require_free(folder: Path, trained: "Trained", *, writes_weights: bool) -> None:
    """Refuse to write over the weights that are exported."""
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
    text = f"logits within {parity.max_logit_difference:.1e} of PyTorch on "
    text += f"{parity.num_images:,} {parity.images}, "
    if parity.num_top1_different == 0:
        text += "every top class the same"
    else:
        text += f"{parity.agreement:.2%} of the top classes the same"
    if parity.num_top1_different and parity.top1_change is not None:
        text += f", top-1 {100 * parity.top1_change:+.2f} points"
    return text


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
