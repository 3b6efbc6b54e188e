"""`alexnet evaluate`."""

import json as json_text
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alexnet_cli.cli.options import DeviceOrTensorrt, Json, Quiet, choose
from alexnet_cli.console import counted, note
from alexnet_cli.errors import AlexnetError, DataError, UsageError
from alexnet_cli.files import atomic_write
from alexnet_cli.manifest import NAMED_DATA, ExportPrecision
from alexnet_cli.run_folder import find_run_of, model_file

if TYPE_CHECKING:
    from alexnet_cli.data.arrays import ImageSource
    from alexnet_cli.data.corruption import Corruption
    from alexnet_cli.data.datasets import Split
    from alexnet_cli.evaluation.measure import ChosenImages, Measured, OpenedModel

EXAMPLES = (
    "alexnet evaluate",
    "alexnet evaluate runs/alexnet-cifar-cifar10 --views 10",
    "alexnet evaluate runs/first runs/second",
    "alexnet evaluate runs/first runs/first/model.onnx --predictions answers.csv",
    "alexnet evaluate --corrupt jpeg:3",
)

_ALL = "all"
_MAX_MODELS = 26


def command(
    models: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="MODEL",
            help="Run folder, checkpoint folder, .onnx or .safetensors; the newest run by default. "
            "Of several, each is compared with the first on the same images.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Dataset or folder; the one it was trained on by default."),
    ] = None,
    split: Annotated[
        str, typer.Option(help="test, or val: the images held out in training.")
    ] = "test",
    views: Annotated[
        int | None,
        typer.Option(
            help="Crops averaged per image: 1, 5, 9, or the paper's 10; by default 1, or those "
            "that an exported file makes itself."
        ),
    ] = None,
    corrupt: Annotated[
        str | None,
        typer.Option(
            metavar="KIND:1..5",
            help="Make the images worse first: noise, blur, jpeg or contrast, mild (1) to strong "
            "(5), as in CIFAR-10-C; all: a table of every one.",
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", "-b", min=1, help="Images per run of the model.")
    ] = 500,
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write truth, prediction and probabilities of each image to FILE, as .csv or "
            ".jsonl; an older file is replaced.",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Measure the exported file of a run instead of its checkpoint: the one in fp32, "
            "fp16 or int8."
        ),
    ] = None,
    device: DeviceOrTensorrt = "auto",
    csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV: a row for each class, or for each model.")
    ] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Measure a model: top-1 with its 95 % interval, loss, calibration, each class.

    Several models are each compared with the first by McNemar's exact test.
    """
    from alexnet_cli.data.corruption import corrupted, parse_corruption
    from alexnet_cli.data.datasets import Split
    from alexnet_cli.data.folder import note_left_out
    from alexnet_cli.evaluation.measure import measure
    from alexnet_cli.evaluation.output import (
        print_results,
        report_corruptions,
        require_writable,
        write_predictions,
    )
    from alexnet_cli.training.open_model import open_model

    names = _names(models, precision)
    split = choose(Split, split, "--split")
    _require_possible(len(names), corrupt=corrupt, csv=csv, json=json, file=predictions)
    chosen = parse_corruption(corrupt) if corrupt is not None and corrupt != _ALL else None
    if predictions is not None:
        require_writable(predictions)
    opened = [open_model(path, device=device) for path in names]
    num_views = [_num_views(each, views) for each in opened]
    for each in opened:
        note(f"evaluating {each.label}", quiet=quiet)
        if each.note:
            note(each.note)  # also when quiet: nobody falls back to the CPU unawares
    name, chosen_images = _find_images(opened, names, data, split)
    source = chosen_images.source
    note_left_out(source, quiet=quiet)
    _note_missing_classes(source, len(opened[0].manifest.classes), quiet=quiet)
    where = {
        "data": name,
        "split": split,
        "num_trained_on": chosen_images.num_trained_on,
        "num_left_out": chosen_images.num_left_out,
    }

    def measure_on(corruption: "Corruption | None") -> "list[Measured]":
        images = corrupted(source, corruption)
        return [
            measure(
                each, images, name=str(path or each.path), num_views=number, batch_size=batch_size,
                quiet=quiet,
            )
            for each, path, number in zip(opened, names, num_views, strict=True)
        ]  # fmt: skip

    if corrupt == _ALL:
        report_corruptions(
            lambda corruption: measure_on(corruption)[0].result,
            where={"model": str(opened[0].path), **where},
            quiet=quiet,
            as_json=json,
        )
        return
    measured = measure_on(chosen)
    if predictions is not None:
        write_predictions(predictions, measured, source, opened[0].manifest.classes)
        note(f"answers to {counted(len(source), 'image')}: {predictions}", quiet=quiet)
    if split is Split.TEST and chosen is None:
        _keep_test_results(opened, measured, name)
    corruption = str(chosen) if chosen else None
    print_results(
        measured, source.labels_N, {**where, "corruption": corruption}, as_csv=csv, as_json=json
    )


def evaluate_command(models: Sequence[Path], data: str) -> str:
    """Return the command that measures models of a dataset, also one without test images."""
    from alexnet_cli.data.folder import has_test

    split = [] if data in NAMED_DATA or has_test(Path(data)) else ["--split", "val"]
    return shlex.join(["alexnet", "evaluate", *map(str, models), *split])


def _names(models: list[Path] | None, precision: str | None) -> list[Path | None]:
    """Return the models to measure, None for the newest run; with a precision, exported files."""
    names: list[Path | None] = [*models] if models else [None]
    if precision is None:
        return names
    wanted = choose(ExportPrecision, precision, "--precision")
    return [model_file(path, wanted) for path in names]


def _require_possible(
    num_models: int, *, corrupt: str | None, csv: bool, json: bool, file: Path | None
) -> None:
    """Refuse flags that exclude each other, before anything is read."""
    if csv and json:
        raise UsageError("--csv and --json are two forms of one output", hint="leave one out")
    if num_models > _MAX_MODELS:
        raise UsageError(
            f"{num_models} models are too many to compare",
            hint=f"name {_MAX_MODELS} at most, one for each letter",
        )
    if corrupt != _ALL:
        return
    if num_models > 1:
        raise UsageError(
            "--corrupt all measures one model, not several",
            hint="name one corruption, as --corrupt jpeg:3, or one model",
        )
    if csv or file is not None:
        raise UsageError(
            f"{'--csv' if csv else '--predictions'} does not go with --corrupt all",
            hint="use --json, or name one corruption, as --corrupt jpeg:3",
        )


def _find_images(
    opened: "Sequence[OpenedModel]", names: Sequence[Path | None], data: str | None, split: "Split"
) -> "tuple[str, ChosenImages]":
    """Return the dataset's name and its images; the hint of an error names the same models."""
    from alexnet_cli.evaluation.measure import common_data, load_measured_images
    from alexnet_cli.manifest import data_name

    name = data_name(data) if data else common_data(opened)
    try:
        return name, load_measured_images(opened, name, split)
    except DataError as error:
        if error.code == "no_test_split":
            flags = ["--data", data] if data else []
            models = [str(path) for path in names if path]
            again = shlex.join(["alexnet", "evaluate", *models, *flags, "--split", "val"])
            error.hint = f"measure on the images held out: {again}"
        raise


def _note_missing_classes(source: "ImageSource", num_classes: int, *, quiet: bool) -> None:
    num_present = len(set(source.labels_N.tolist()))
    if num_present < num_classes:
        note(f"images of {num_present} of the model's {num_classes:,} classes", quiet=quiet)


def _num_views(opened: "OpenedModel", wanted: int | None) -> int:
    """Return the number of views to average, inside the model or outside."""
    inside = opened.manifest.num_views
    if inside > 1 and wanted not in (None, inside):
        raise UsageError(
            f"{opened.path} averages {inside} views by itself, not {wanted}",
            hint="leave --views out, or name a run, or a file that was exported without --views",
        )
    return wanted or inside


def _keep_test_results(
    opened: "Sequence[OpenedModel]", measured: "Sequence[Measured]", data: str
) -> None:
    """Write results on a run's own test set into its folder, for `alexnet runs`.

    Only those of a checkpoint with one view: `alexnet runs` shows these results in one column, so
    they must be comparable.
    """
    from alexnet_cli.data.run_images import find_training_data

    for model, each in zip(opened, measured, strict=True):
        run = find_run_of(model.path)
        is_checkpoint = model.path.is_dir() and each.result.num_views == 1
        if run is None or not is_checkpoint:
            continue
        if find_training_data(model.path, model.manifest.provenance) != data:
            continue
        figures = ("top1", "top1_interval", "num_images", "num_views")
        content = {"model": str(model.path)} | {
            name: getattr(each.result, name) for name in figures
        }
        try:
            atomic_write(run.test_result, json_text.dumps(content, indent=1).encode())
        except AlexnetError as error:  # a folder that may only be read can be measured all the same
            note(f"the result is not kept: {error.message}")
