"""`alexnet export`."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alexnet_cli.cli.options import Json, Quiet, choose
from alexnet_cli.console import note, print_json, print_path, suggest
from alexnet_cli.errors import AlexnetError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from alexnet_cli.data.arrays import ImageSource
    from alexnet_cli.data.datasets import Dataset
    from alexnet_cli.export.settings import Compared, ExportSettings
    from alexnet_cli.export.write import Exported
    from alexnet_cli.manifest import ExportPrecision, Manifest
    from alexnet_cli.training.open_model import Trained

EXAMPLES = (
    "alexnet export",
    "alexnet export runs/alexnet-cifar-cifar10 --format all --shared-weights",
    "alexnet export --precision int8",
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
        typer.Option(
            "--shared-weights", help="A small model-shared.onnx that reads model.safetensors."
        ),
    ] = False,
    precision: Annotated[
        str,
        typer.Option(
            help="Of the ONNX file: fp32; int8, for CPUs, calibrated on training images; or fp16, "
            "for GPUs."
        ),
    ] = "fp32",
    views: Annotated[
        int,
        typer.Option(
            help="Views that the file averages: 1, or 10: the paper's five crops, also mirrored."
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
    force: Annotated[
        bool, typer.Option("--force", help="Replace existing files of other content.")
    ] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write the best checkpoint as ONNX or safetensors, compared with PyTorch on real images.

    The files are called model.onnx, model-int8.onnx, model-10views.onnx and so on. A model card,
    README.md, goes with them. A file that differs from the trained network by more than its
    precision explains is not written: any logit by 1e-4 in fp32; in fp16 and int8 the top class
    of 0.5 % and 3 % of the images, or 0.3 and 1 points of top-1.
    """
    from alexnet_cli.export.settings import ExportSettings, Format
    from alexnet_cli.manifest import ExportPrecision, LrnForm
    from alexnet_cli.run_folder import newest_run

    settings = ExportSettings(
        choose(Format, file_format, "--format"),
        shared_weights,
        choose(ExportPrecision, precision, "--precision"),
        views,
        opset,
        choose(LrnForm, lrn_form, "--lrn-form") if lrn_form else None,
        force,
    )
    settings.check()
    source = model or newest_run(data=data).path
    written = write_files(
        source,
        settings,
        data=data if model else None,
        output=output,
        num_compared=num_parity_images or _NUM_COMPARED // views,
        num_calibration=num_calibration_images or _NUM_CALIBRATION // views,
        quiet=quiet,
    )
    if json:
        print_json([_to_dict(file) for file in written])
        return
    for file in written:
        print_path(file.path)
    suggest(*_next_commands(written, settings, source, output), quiet=quiet)


def write_files(
    source: Path,
    settings: "ExportSettings",
    *,
    data: str | None = None,
    output: Path | None = None,
    num_compared: int = _NUM_COMPARED,
    num_calibration: int = _NUM_CALIBRATION,
    quiet: bool = False,
) -> "list[Exported]":
    """Export a model, with notes of what is exported and how near it is; see `command`."""
    from alexnet_cli.export.write import EXPORT_EXISTS, export_model, require_free
    from alexnet_cli.training.open_model import open_trained

    trained = open_trained(source)
    folder, origin = output or trained.folder, trained.manifest.provenance
    _require_other_place(folder, trained, settings)
    try:
        require_free(folder, trained.manifest, settings)
        epoch = f"epoch {origin.epoch}, " if origin.epoch else ""
        text = f"exporting {trained.label} ({epoch}validation top-1 {origin.val_top1:.2%})"
        note(text, quiet=quiet)
        num_calibration = num_calibration if settings.needs_calibration else 0
        compared, calibration = load_comparison_images(
            trained.manifest, source, data,
            num_compared=num_compared, num_calibration=num_calibration,
        )  # fmt: skip
        written = export_model(
            trained.network,
            trained.manifest,
            folder,
            settings,
            compared,
            calibration_NIIC=calibration,
        )
    except UsageError as error:
        if error.code == EXPORT_EXISTS:
            again = shlex.join(["alexnet", *sys.argv[1:], "--force"])
            error.hint = f"replace it with: {again}; or choose another --output"
        raise
    for file in written:
        note(f"{file.path.name}: {file.num_bytes:,} bytes; {_compared(file)}", quiet=quiet)
    return written


def load_comparison_images(
    manifest: "Manifest",
    model: Path,
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
        DataError: The images are not where they were; the hint repeats `model`.
    """
    from alexnet_cli.data.datasets import find_dataset
    from alexnet_cli.data.run_images import (
        find_images_folder,
        find_record,
        find_run_images,
        find_training_data,
    )
    from alexnet_cli.export.settings import Compared
    from alexnet_cli.manifest import data_title
    from alexnet_cli.networks import PRETRAINED_DATA
    from alexnet_cli.training.open_model import drawn_crops

    size_px, origin = manifest.input.image_size_px, manifest.provenance
    if data is None and origin.data == PRETRAINED_DATA:
        count = min(num_compared, _NUM_DRAWN)
        drawn = drawn_crops(count, image_size_px=size_px, crop_size_px=size_px)
        return Compared(drawn, name="drawn images"), None
    if data is None:
        command = f"alexnet export {shlex.quote(str(model))}"
        dataset = find_images_folder(find_training_data(model, origin), command)
        record = find_record(model, origin, data=dataset.name)
        images = find_run_images(model, origin, dataset, record)
        train, others = images.train, images.val
    else:
        dataset = find_dataset(data)
        train, others = _split(dataset, is_calibrated=num_calibration > 0)
    chosen = _spread(others, num_compared)
    labels_B = chosen.labels_N if dataset.classes == manifest.classes else None
    name = f"images of {data_title(dataset.name)}" if data else "validation images"
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


def _require_other_place(folder: Path, trained: "Trained", settings: "ExportSettings") -> None:
    """Refuse to write over the weights that are exported."""
    from alexnet_cli.training.checkpoint import STATE_FILE

    if (folder / STATE_FILE).exists():
        raise UsageError(
            f"{folder} is a checkpoint; an export would overwrite its weights",
            hint="choose another --output",
        )
    source, name = trained.weights, settings.weights_name
    if source is not None and name and (folder / name).resolve() == source.resolve():
        raise UsageError(
            f"{source} would be replaced by its own copy",
            hint="choose another --output, or --format onnx alone",
        )


def _next_commands(
    written: "list[Exported]", settings: "ExportSettings", source: Path, output: Path | None
) -> list[str]:
    """Return the commands that make sense with files that were exported from `source`."""
    from alexnet_cli.cli.evaluate import evaluate_command
    from alexnet_cli.data.run_images import find_training_data
    from alexnet_cli.manifest import ExportPrecision
    from alexnet_cli.networks import PRETRAINED_DATA
    from alexnet_cli.run_folder import list_exports

    weights, path = written[0].path, written[-1].path
    data = find_training_data(source, written[0].manifest.provenance)
    has_images = data != PRETRAINED_DATA
    is_plain = settings.precision is ExportPrecision.FP32 and settings.num_views == 1
    commands = [f"alexnet predict YOUR_PHOTO.jpg{_model_flag(path, settings.precision)}"]
    if has_images and not is_plain:
        commands.append(evaluate_command([source, path], data))
    elif has_images and settings.onnx_name and not list_exports(path.parent, ExportPrecision.INT8):
        named = [] if _is_newest_run(source) else [str(source)]
        named += ["--output", str(output)] if output else []
        commands.append(shlex.join(["alexnet", "export", *named, "--precision", "int8"]))
    if settings.weights_name:
        commands.append(f"alexnet train --from {shlex.quote(str(weights))} --data YOUR_PHOTOS")
    return commands


def _model_flag(path: Path, precision: "ExportPrecision") -> str:
    """Return the flag with which `predict` takes a file; none for the first of the newest run."""
    from alexnet_cli.run_folder import list_exports

    if _is_newest_run(path.parent):
        for flag, choice in (("", None), (f" --precision {precision}", precision)):
            if list_exports(path.parent, choice)[0] == path:
                return flag
    return f" --model {shlex.quote(str(path))}"


def _is_newest_run(folder: Path) -> bool:
    from alexnet_cli.run_folder import newest_run

    try:
        return newest_run().path.resolve() == folder.resolve()
    except AlexnetError:
        return False


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
