"""`alexnet export`, and the images that it compares on and calibrates with."""

import shlex
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from alexnet_cli.cli.options import Json, Quiet
from alexnet_cli.console import note, print_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from alexnet_cli.data.arrays import ImageSource
    from alexnet_cli.data.datasets import Dataset
    from alexnet_cli.export.parity import Compared
    from alexnet_cli.export.write import Exported
    from alexnet_cli.manifest import Manifest
    from alexnet_cli.training.open_model import Trained


_NUM_DRAWN = 16


@dataclass(frozen=True)
class ExportSources:
    """Where the images of an export come from; no test image is among them.

    Attributes:
        manifest: Of the model that is exported.
        model: What the user calls it.
        data: Where images are now, if not where they were in training; any images will do.
        calibrates: Whether some of those are for int8, and must not be compared on.
    """

    manifest: "Manifest"
    model: Path | None
    data: str | None
    calibrates: bool = False

    def compared(self, num_images: int) -> "Compared":
        """Return images to compare on: those held out of the training, if at hand.

        Args:
            num_images: At most so many, spread over all there are.

        Raises:
            UsageError: They are not where they were.
        """
        from alexnet_cli.export.parity import Compared
        from alexnet_cli.training.open_model import drawn_crops

        size_px = self.manifest.input.image_size_px
        if not self._has_images():
            count = min(num_images, _NUM_DRAWN)
            drawn = drawn_crops(count, image_size_px=size_px, crop_size_px=size_px)
            return Compared(drawn, name="drawn images")
        dataset = self._dataset()
        _, held_out = self._divided(dataset)
        chosen = held_out.take(_spread(len(held_out), num_images))
        is_known = dataset.classes == self.manifest.classes
        name = f"images of {dataset.name}" if self.data else "validation images"
        return Compared(chosen.load_images(size_px), chosen.labels_N if is_known else None, name)

    def calibration(self, num_images: int) -> "NDArray[np.uint8] | None":
        """Return squares of training images, (N, I, I, 3), if there are any at hand.

        Args:
            num_images: At most so many, spread over all there are.
        """
        if not self._has_images():
            return None
        train, _ = self._divided(self._dataset())
        chosen = train.take(_spread(len(train), num_images))
        return chosen.load_images(self.manifest.input.image_size_px)

    def _has_images(self) -> bool:
        from alexnet_cli.networks import PRETRAINED_DATA

        return self.data is not None or self.manifest.provenance.data != PRETRAINED_DATA

    def _dataset(self) -> "Dataset":
        from alexnet_cli.data.datasets import find_dataset
        from alexnet_cli.errors import UsageError

        try:
            return find_dataset(self.data or self.manifest.provenance.data)
        except UsageError as error:
            if self.data is None:
                named = shlex.quote(str(self.model)) if self.model else "RUN"
                error.hint = f"say where its images are now: alexnet export {named} --data FOLDER"
            raise

    def _divided(self, dataset: "Dataset") -> "tuple[ImageSource, ImageSource]":
        """Return training images and others."""
        import numpy as np

        from alexnet_cli.data.datasets import load_training

        origin = self.manifest.provenance
        if self.data is None:
            return load_training(dataset, val_size=origin.val_size, seed=origin.seed)
        train, val = dataset.load_train(), dataset.load_val()
        if val is not None or not self.calibrates:
            return train, train if val is None else val
        numbers = np.arange(len(train))  # of one image there is only itself
        return train.take(numbers[1::2] if len(numbers) > 1 else numbers), train.take(numbers[::2])


def _spread(num_there: int, num_wanted: int) -> "NDArray[np.int64]":
    import numpy as np

    return np.linspace(0, num_there - 1, min(num_wanted, num_there)).astype(np.int64)


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
    from alexnet_cli.export.settings import ExportSettings, Format
    from alexnet_cli.export.write import export_model
    from alexnet_cli.manifest import ExportPrecision, LrnForm
    from alexnet_cli.training.open_model import open_trained

    settings = ExportSettings(
        _choice(Format, file_format, "--format"),
        shared_weights,
        _choice(ExportPrecision, precision, "--precision"),
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
