"""Evaluation of a classifier on labelled images: each image counted once, in any runtime.

`load_measured_images` finds the images, leaves out those that a model was trained on, and refuses
those on which models cannot be measured or compared.

Shape letters: N images, B batch, S side of a crop, K classes.
"""

import contextlib
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.console import counted, note, printable, stderr_console
from alexnet_cli.data.arrays import ImageSource, iterate_images
from alexnet_cli.data.content import are_among
from alexnet_cli.data.datasets import DATASETS, Dataset, Split
from alexnet_cli.data.folder import (
    ImageFolder,
    class_folders,
    labelled_root,
    scan_folder,
    training_root,
)
from alexnet_cli.data.imagenet import are_wordnet_ids, wordnet_ids
from alexnet_cli.data.run_images import (
    ImageRecord,
    find_images_folder,
    find_record,
    find_run_images,
    find_training_data,
)
from alexnet_cli.errors import DataError, UsageError, join_some
from alexnet_cli.evaluation.metrics import Evaluation, softmax, summarise
from alexnet_cli.manifest import Manifest
from alexnet_cli.networks import PRETRAINED_DATA

VIEW_COUNTS = (1, 5, 9, 10)
Logits = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""A model in any runtime: uint8 images (B, S, S, 3), S the manifest's `input_side_px`, to logits
(B, K) whose softmax is its answer."""


@dataclass(frozen=True)
class OpenedModel:
    """A model that can be called, in any runtime."""

    path: Path  # what it was read from
    label: str  # for people
    manifest: Manifest
    logits: Logits
    note: str | None = None  # for people, such as why no GPU is used


@dataclass(frozen=True)
class Measured:
    name: str  # as the user typed it
    path: str
    probabilities_NK: NDArray[np.float64]
    result: Evaluation


def measure(
    opened: OpenedModel,
    source: ImageSource,
    *,
    name: str = "",
    num_views: int | None = None,
    batch_size: int = 500,
    quiet: bool = False,
) -> Measured:
    """Evaluate a model on images, with a progress bar on a terminal.

    `num_views` crops are averaged per image; by default, those that the model makes itself.
    """
    from rich.markup import escape
    from rich.progress import Progress

    manifest, path = opened.manifest, str(opened.path)
    name, num_views = name or path, num_views or manifest.num_views
    console = stderr_console()
    bar = Progress(console=console, disable=quiet or not console.is_terminal, transient=True)
    task = bar.add_task(escape(printable(f"evaluating {name}")), total=len(source))
    with bar:
        probabilities_NK = predict_probabilities(
            opened.logits,
            source,
            manifest,
            num_views=num_views,
            batch_size=batch_size,
            on_batch=lambda count: bar.advance(task, count),
        )
    result = summarise(
        probabilities_NK, source.labels_N, classes=manifest.classes, num_views=num_views
    )
    if result.num_unanswered:
        note(
            f"{path} has no number for an answer to {result.num_unanswered:,} of "
            f"{result.num_images:,} images (NaN): they count as wrong"
        )
    return Measured(name, path, probabilities_NK, result)


def predict_probabilities(  # noqa: PLR0913 - settings, each named at the call
    model: Logits,
    source: ImageSource,
    manifest: Manifest,
    *,
    num_views: int = 1,
    batch_size: int = 500,
    num_workers: int = 0,
    on_batch: Callable[[int], None] = lambda _: None,
) -> NDArray[np.float64]:
    """Return the probability of each class for each image, in the order of the images.

    `num_views` crops are averaged per image, unless the model does it. `on_batch` is called with
    the number of images after each batch.

    Returns:
        Float64, shape (N, K); rows sum to 1, or are NaN where the model's answer is NaN.
    """
    num_crops = 1 if manifest.num_views > 1 else num_views
    batches = iterate_images(
        source, size_px=manifest.input.image_size_px, batch_size=batch_size, num_workers=num_workers
    )
    answers = []
    with contextlib.closing(batches):
        for squares_BIIC in batches:
            crops = views_of(squares_BIIC, crop_size_px=manifest.input_side_px, num_views=num_crops)
            total = sum(softmax(model(np.ascontiguousarray(crops_BSSC))) for crops_BSSC in crops)
            answers.append(np.asarray(total) / num_crops)
            on_batch(len(squares_BIIC))
    return np.concatenate(answers)


def views_of(
    images_NHWC: NDArray[np.uint8], *, crop_size_px: int, num_views: int
) -> list[NDArray[np.uint8]]:
    """Cut each view out of all images, without a copy.

    Source: paper §4.1: "five 224×224 patches (the four corner patches and the center patch) as
    well as their horizontal reflections".

    `num_views` is 1 (the centre), 5 (the corners too), 10 (and their mirror images), or 9 (a grid
    of three by three, as in cuda-convnet2's test on CIFAR-10).

    Returns:
        Arrays (N, S, S, 3), the centre first.

    Raises:
        UsageError: Another number of views.
    """
    if num_views not in VIEW_COUNTS:
        raise UsageError(f"cannot make {num_views} views", hint="use --views 1, 5, 9 or 10")
    bottom, right = (side - crop_size_px for side in images_NHWC.shape[1:3])
    middle = (bottom // 2, right // 2)
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right)]
    if num_views == 9:
        places = [(y, x) for y in (middle[0], 0, bottom) for x in (middle[1], 0, right)]
    else:
        places = [middle] if num_views == 1 else [middle, *corners]
    views = [images_NHWC[:, y : y + crop_size_px, x : x + crop_size_px] for y, x in places]
    return [*views, *(view[:, :, ::-1] for view in views)] if num_views == 10 else views


@dataclass(frozen=True)
class ChosenImages:
    """The images to measure on; those that training has seen were counted by their content."""

    source: ImageSource
    num_trained_on: int | None  # of the split, by any of the models; None: not known
    num_left_out: int = 0  # of the split


def load_measured_images(models: Sequence[OpenedModel], data: str, split: Split) -> ChosenImages:
    """Return the images of a split on which models can be measured.

    A folder that no model was trained on needs no images of every class, and no `train/`; its
    class folders may have the WordNet ids of ImageNet's. Images that a model was trained on are
    left out, but for the test set of a named dataset, so that results are those of other programs.

    Raises:
        UsageError: A model has other classes than the dataset or the first model, or was trained
            on all of these images.
        DataError: The held-out images are not known, or gone.
    """
    _require_same_classes(models)
    first = models[0]
    is_other = data not in DATASETS and all(_training_data(each) != data for each in models)
    root = labelled_root(Path(data), split) if is_other else None
    if root is not None:
        source, records = _scan_labelled(root, first), _find_records(models, data)
        for model, record in zip(models, records, strict=True):
            if record is None:
                _require_outside_training(source, model)
        return _leave_out_seen(source, models, records, data, split)
    command = f"alexnet evaluate {shlex.quote(str(first.path))} --split {split}"
    dataset, own = find_images_folder(data, command), shlex.quote(_training_data(first))
    _require_classes(
        first,
        dataset.name,
        dataset.classes,
        hint=f"evaluate it on data that has its classes: --data {own}",
    )
    records = _find_records(models, data)
    images = dataset.load_test() if split is Split.TEST else _held_out(models, records, dataset)
    return _leave_out_seen(images, models, records, data, split)


def _training_data(model: OpenedModel) -> str:
    return find_training_data(model.path, model.manifest.provenance)


def _find_records(models: Sequence[OpenedModel], data: str) -> list[ImageRecord | None]:
    records = [find_record(each.path, each.manifest.provenance, data=data) for each in models]
    for model, record in zip(models, records, strict=True):
        if record is None and model.manifest.provenance.images:
            note(f"it is not known which images {model.path} was trained on: none is left out")
    return records


def _held_out(
    models: Sequence[OpenedModel], records: Sequence[ImageRecord | None], dataset: Dataset
) -> ImageSource:
    """Return the images that the models held out.

    Raises:
        UsageError: They held out different ones.
    """
    first, *others = (
        find_run_images(each.path, each.manifest.provenance, dataset, record)
        for each, record in zip(models, records, strict=True)
    )
    if any(set(each.val.hashes()) != set(first.val.hashes()) for each in others):
        paths = shlex.join(str(each.path) for each in models)
        raise UsageError(
            f"not all of these models held out the same images as {models[0].path}: --val-size and "
            "--seed differ",
            hint=f"compare them on the test set: alexnet evaluate {paths}",
            code="images_differ",
        )
    if first.num_missing:
        note(f"{dataset.name} lacks {counted(first.num_missing, 'image')} of the training")
    return first.val


def _leave_out_seen(
    source: ImageSource,
    models: Sequence[OpenedModel],
    records: Sequence[ImageRecord | None],
    data: str,
    split: Split,
) -> ChosenImages:
    """Leave out images that a model was trained on, and of a test set those that it held out.

    Raises:
        UsageError: None is left.
    """
    known = [record for record in records if record is not None]
    if not known:
        return ChosenImages(source, None)
    hashes_N = source.hashes()
    trained_N = seen_N = are_among(hashes_N, np.concatenate([each.trained_on for each in known]))
    if split is Split.TEST:
        seen_N = are_among(hashes_N, np.concatenate([each.hashes_N for each in known]))
    num_trained, num_seen = int(trained_N.sum()), int(seen_N.sum())
    if not num_seen:
        return ChosenImages(source, 0)
    paths = " or ".join(str(model.path) for model in models)
    if split is Split.TEST and data in DATASETS:
        if num_trained:
            note(f"{num_trained:,} of {len(source):,} images are also training images of {paths}")
        return ChosenImages(source, num_trained)
    seen = f"{num_trained:,} were training images"
    if num_seen > num_trained:
        seen += f", {num_seen - num_trained:,} validation images"
    if num_seen == len(source):
        raise UsageError(
            f"{paths} has seen all {len(source):,} images of {data} in training: {seen}",
            hint="name other images, or measure on those held out: --split val"
            if split is Split.TEST
            else "measure on a test set: --data FOLDER",
            code="trained_on",
        )
    note(f"left out {num_seen:,} of {len(source):,} images that {paths} has seen: {seen}")
    return ChosenImages(source.take(np.flatnonzero(~seen_N)), num_trained, num_seen)


def _require_outside_training(source: ImageFolder, model: OpenedModel) -> None:
    """Refuse a folder inside the training images of a model without a record of them."""
    trained = Path(_training_data(model))
    root = training_root(trained).resolve() if trained.is_absolute() else None
    if root and source.root.resolve().is_relative_to(root):
        raise UsageError(
            f"{source.root} holds images that {model.path} was trained on",
            hint="name other images, or measure on those held out: --split val",
            code="trained_on",
        )


def _scan_labelled(root: Path, first: OpenedModel) -> ImageFolder:
    """List the images of a folder whose class folders are classes of the model."""
    names, classes = class_folders(root), first.manifest.classes
    if first.manifest.provenance.data == PRETRAINED_DATA and are_wordnet_ids(names):
        classes = wordnet_ids()
    if unknown := [name for name in names if name not in set(classes)]:
        raise UsageError(
            f"{root} has folders that are not classes of {first.path}: {join_some(unknown)}",
            hint=f"the model's classes are: {join_some(classes, limit=10)}",
            code="classes_differ",
        )
    images = scan_folder(root, classes)
    if not len(images):
        raise DataError(
            f"{root} has no folder of images",
            hint=f"put the images of each class into {root}/CLASS/",
            code="no_images",
        )
    return images


def common_data(models: Sequence[OpenedModel]) -> str:
    """Return the dataset that all models were trained on.

    Raises:
        UsageError: They were trained on several.
    """
    first = models[0]
    name = _training_data(first)
    for other in models[1:]:
        if _training_data(other) != name:
            _require_same_classes(models)
            raise UsageError(
                f"{first.path} was trained on {name}, {other.path} on "
                f"{_training_data(other)}: it is unclear on which to compare them",
                hint=f"name one: --data {shlex.quote(name)}",
                code="data_differ",
            )
    return name


def _require_same_classes(models: Sequence[OpenedModel]) -> None:
    for other in models[1:]:
        hint = f"measure each by itself: alexnet evaluate {shlex.quote(str(other.path))}"
        _require_classes(models[0], other.path, other.manifest.classes, hint=hint)


def _require_classes(
    model: OpenedModel, other: object, classes: tuple[str, ...], *, hint: str
) -> None:
    """Raise a UsageError if a model or dataset, `other`, has other classes than a model."""
    known = model.manifest.classes
    if classes == known:
        return
    missing = [name for name in known if name not in set(classes)]
    added = [name for name in classes if name not in set(known)]
    differences = [f"lacks {join_some(missing)}"] if missing else []
    differences += [f"also has {join_some(added)}"] if added else []
    difference = " and ".join(differences) or "has them in another order"
    raise UsageError(
        f"{model.path} and {other} have different classes: {other} {difference}",
        hint=hint,
        code="classes_differ",
    )
