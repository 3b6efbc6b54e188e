"""`alexnet data`."""

import functools
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alexnet_cli.cli.app import HelpCommand
from alexnet_cli.cli.options import Json, Quiet, with_config_flags
from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.console import (
    ByteProgress,
    note,
    print_json,
    print_path,
    print_rich_table,
    printable,
)
from alexnet_cli.errors import UsageError, did_you_mean, join_some

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from alexnet_cli.data.batches import Batch
    from alexnet_cli.data.datasets import Dataset
    from alexnet_cli.data.inventory import Entry

EXAMPLES = ("alexnet data", "alexnet data verify", "alexnet data show --augmented")
_VERIFY_EXAMPLES = ("alexnet data verify --json", "alexnet data verify --data photos")
_SHOW_EXAMPLES = (
    "alexnet data show",
    "alexnet data show --data photos --split val --output held-out.png",
    "alexnet data show --augmented --config runs/alexnet-cifar-cifar10/config.toml",
    "alexnet data show --class cat --class dog --count 20",
)

_SHOWN_FIELDS = (
    "data", "model", "recipe", "image_size", "crop_size", "early_crop_size", "pad", "flip",
    "colour_noise", "val_size", "seed",
)  # fmt: skip


def build_group(group: typer.Typer) -> None:
    group.callback(invoke_without_command=True)(command)
    for below, examples in ((verify, _VERIFY_EXAMPLES), (show, _SHOW_EXAMPLES)):
        group.command(below.__name__, cls=HelpCommand, epilog="\n".join(examples))(below)


def command(context: typer.Context, json: Json = False) -> None:
    """List the files in the cache folder; alexnet data show draws a sheet of images."""
    if context.invoked_subcommand is not None:
        if json:
            usage = f"alexnet data {context.invoked_subcommand} --json"
            raise UsageError("--json must follow the subcommand", hint=f"use: {usage}")
        return
    from alexnet_cli.data.inventory import list_cache
    from alexnet_cli.files import cache_folder

    entries, folder = list_cache(), cache_folder()
    num_bytes = sum(entry.num_bytes for entry in entries)
    if json:
        rows = [_document(entry) for entry in entries]
        print_json({"folder": str(folder), "num_bytes": num_bytes, "files": rows})
        return
    _print_entries(entries, folder)
    print(f"{folder}: {num_bytes:,} bytes")


def _document(entry: "Entry") -> dict[str, Any]:
    return {
        "kind": entry.kind,
        "name": entry.name,
        "path": str(entry.path),
        "num_bytes": entry.num_bytes,
        "state": entry.state or None,
        "fix": entry.fix or None,
    }


def _print_entries(entries: "list[Entry]", folder: Path) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for column in ("kind", "name", "file", "bytes", "state"):
        table.add_column(column, justify="right" if column == "bytes" else "left")
    for entry in entries:
        path = entry.path.relative_to(folder)
        name = "" if entry.name == str(path) else entry.name
        size = f"{entry.num_bytes:,}" if entry.state != "absent" else ""
        cells = (entry.kind, name, Text(printable(str(path)), overflow="fold"), size, entry.state)
        table.add_row(*cells)
    print_rich_table(table)


def verify(
    data: Annotated[
        str | None, typer.Option("--data", help="Check this folder of images, too.")
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Verify the checksums of the cache folder; exit code 1 if a file is damaged.

    Counts the images that are byte-identical in training and test (or validation).
    """
    from alexnet_cli.data.inventory import (
        State,
        count_identical_in,
        list_cache,
        unpacked_datasets,
        verify_cache,
    )
    from alexnet_cli.errors import DataError
    from alexnet_cli.files import cache_folder

    total = sum(entry.num_bytes for entry in list_cache() if entry.verify)
    bar = ByteProgress("hashing", total=total, quiet=quiet)
    try:
        entries = list(verify_cache(bar.update))
    finally:
        bar.close()
    damaged = [entry for entry in entries if entry.state is State.DAMAGED]
    names = dict.fromkeys([*unpacked_datasets(entries), *([data] if data else [])])
    identical = {name: count_identical_in(name) for name in names}
    if json:
        files = [_document(entry) for entry in entries]
        print_json({"is_sound": not damaged, "files": files, "identical_images": identical})
    else:
        _print_entries(entries, cache_folder())
        for name, counts in identical.items():
            print(printable(f"{name}: {_describe_counts(counts)}"))
    if damaged:
        raise DataError(
            "damaged: " + ", ".join(str(entry.path) for entry in damaged),
            hint="; ".join(dict.fromkeys(entry.fix for entry in damaged)),
            code="data_corrupt",
        )


def _describe_counts(counts: "dict[str, int | None]") -> str:
    from alexnet_cli.data.run_images import describe_identical

    text = describe_identical(counts) or "no image is byte-identical in two splits"
    repeated = counts["repeated_in_train"]
    return f"{text}; {repeated:,} training images repeat another" if repeated else text


@functools.partial(with_config_flags, names=_SHOWN_FIELDS)
def show(
    *,
    config: TrainConfig,
    split: Annotated[
        str, typer.Option(help="train, or val: the images held out in training.")
    ] = "train",
    augmented: Annotated[
        bool,
        typer.Option(
            "--augmented",
            help="As the network sees them in training: cropped, mirrored, recoloured.",
        ),
    ] = False,
    epoch: Annotated[int, typer.Option(min=1, help="With --augmented: the epoch.")] = 1,
    only: Annotated[
        list[str] | None, typer.Option("--class", help="Show only this class; may be repeated.")
    ] = None,
    count: Annotated[
        int, typer.Option(min=0, max=100, help="Maximum of images per class; 0 = automatic.")
    ] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="PNG file; DATA-SPLIT.png by default.")
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Draw a sheet of labelled images as a PNG file.

    Shows the images as they are, or their largest central square; with --augmented
    as the network sees them in training with these settings of alexnet train.
    """
    from alexnet_cli.data.contact_sheet import draw_sheet, images_per_class
    from alexnet_cli.data.datasets import find_dataset
    from alexnet_cli.files import atomic_write

    _require_shown(split, augmented=augmented, output=output)
    dataset = find_dataset(config.data)
    labels = _chosen_classes(dataset.classes, only)
    count = count or images_per_class(len(labels))
    if augmented:
        images_NSSC, labels_N, num_images = augmented_images(
            config, dataset, labels=labels, count=count, epoch=epoch - 1
        )
        crops = f"{images_NSSC.shape[1]}-px crops of epoch {epoch}, seed {config.seed}"
        caption = f"{num_images:,} images, {crops}"
    else:
        images_NSSC, labels_N, num_images = _plain_images(
            config, dataset, labels=labels, count=count, split=split
        )
        caption = f"{num_images:,} images"
    if not len(labels_N):
        raise UsageError(
            f"{dataset.name} has no {split} images of these classes",
            hint="leave --class out, or choose another --val-size",
        )
    name = Path(dataset.name).name
    sheet = draw_sheet(images_NSSC, labels_N, dataset.classes, title=f"{name} {split}: {caption}")
    path = output or Path(f"{name}-{split}{'-augmented' if augmented else ''}.png")
    atomic_write(path, sheet.png)
    if sheet.numbered:
        pairs = ", ".join(f"#{label} {name}" for label, name in sheet.numbered.items())
        message = "no installed font has these characters; the sheet shows class numbers"
        note(f"{message}: {pairs}", quiet=quiet)
    if json:
        document = {"path": str(path), "data": dataset.name, "split": split}
        print_json({**document, "augmented": augmented, "num_images": len(labels_N)})
    else:
        print_path(path)


def _require_shown(split: str, *, augmented: bool, output: Path | None) -> None:
    """Refuse splits that must not or cannot be shown, and outputs that are not PNG files."""
    if split == "test":
        raise UsageError(
            "only alexnet evaluate uses the test set, so that nothing is chosen by it",
            hint="use --split train or --split val",
        )
    if split not in ("train", "val"):
        raise UsageError(f"unknown split {split!r}", hint="use --split train or --split val")
    if augmented and split == "val":
        raise UsageError("validation images are not augmented", hint="leave --augmented out")
    if output is not None and output.suffix.lower() != ".png":
        raise UsageError(
            f"{output} is not a PNG file",
            hint=f"use --output {shlex.quote(str(output.with_suffix('.png')))}",
        )


def _chosen_classes(classes: tuple[str, ...], only: list[str] | None) -> list[int]:
    unknown = [name for name in only or () if name not in classes]
    if unknown:
        raise UsageError(
            f"unknown class {unknown[0]!r}",
            hint=did_you_mean(
                unknown[0], classes, hint=f"choose --class from: {join_some(classes, limit=8)}"
            ),
        )
    return [classes.index(name) for name in dict.fromkeys(only or classes)]


def augmented_images(
    config: TrainConfig, dataset: "Dataset", *, labels: list[int], count: int, epoch: int
) -> "tuple[NDArray[np.uint8], NDArray[np.int64], int]":
    """Return the first images of some classes in an epoch of training, at most `count` of each.

    Returns:
        The images, uint8 (N, S, S, 3); their classes (N,), in the order of `labels`; the number of
        images in the training set.
    """
    import numpy as np
    import torch

    from alexnet_cli.data.arrays import load_if_fits, training_statistics
    from alexnet_cli.data.batches import make_batches
    from alexnet_cli.data.datasets import load_training
    from alexnet_cli.training.schedule import crop_size_px
    from alexnet_cli.training.setup import batch_settings, resolve_sizes

    size_px, final_px = resolve_sizes(config, stored_px=dataset.image_size_px)
    train, _ = load_training(dataset, val_size=config.val_size, seed=config.seed)
    train = load_if_fits(train, size_px=size_px, num_workers=0)
    axes: tuple[tuple[float, ...], ...] = ()
    if config.colour_noise:
        colours = training_statistics(train, size_px=size_px, seed=config.seed, num_workers=0)
        axes = colours.noise_axes(config.colour_noise)
    side_px = crop_size_px(config, final_px=final_px, epoch=epoch)
    present = Counter(train.labels_N.tolist())
    wanted = {label: min(count, present[label]) for label in labels}
    found: dict[int, list[NDArray[np.uint8]]] = {label: [] for label in labels}
    batches = make_batches(train, batch_settings(config, size_px, axes), device=torch.device("cpu"))
    for batch in batches.epoch(epoch, crop_size_px=side_px):
        for label, image in zip(batch.labels_B.tolist(), _with_colours(batch), strict=True):
            if label in found and len(found[label]) < wanted[label]:
                found[label].append(image)
        if all(len(found[label]) == wanted[label] for label in labels):
            break
    labels_N = np.array([label for label in labels for _ in found[label]], np.int64)
    images = [image for label in labels for image in found[label]]
    images_NSSC = np.stack(images) if images else np.empty((0, side_px, side_px, 3), np.uint8)
    return images_NSSC, labels_N, len(train)


def _with_colours(batch: "Batch") -> "NDArray[np.uint8]":
    """Return a batch as bytes with its colour changes, which training adds to floats."""
    pixels_BSSC = batch.images_BSSC.float()
    if batch.colours_BC is not None:
        pixels_BSSC += batch.colours_BC[:, None, None, :]
    seen: NDArray[np.uint8] = pixels_BSSC.round().clamp(0, 255).byte().numpy()
    return seen


def _plain_images(
    config: TrainConfig, dataset: "Dataset", *, labels: list[int], count: int, split: str
) -> "tuple[NDArray[np.uint8], NDArray[np.int64], int]":
    """Return images of a split without augmentation, as `augmented_images` does."""
    from alexnet_cli.data.contact_sheet import CELL_PX, choose_images
    from alexnet_cli.data.datasets import load_training
    from alexnet_cli.data.folder import note_left_out

    train, val = load_training(dataset, val_size=config.val_size, seed=config.seed)
    note_left_out(train, val)
    source = train if split == "train" else val
    places = choose_images(source.labels_N, labels=labels, count=count, seed=config.seed)
    chosen = source.take(places)
    images = chosen.load_images(dataset.image_size_px or CELL_PX)
    return images, chosen.labels_N, len(source)
