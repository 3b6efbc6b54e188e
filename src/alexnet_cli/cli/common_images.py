"""The images on which a model, or several, can be measured fairly."""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alexnet_cli.cli.model_source import OpenedModel
    from alexnet_cli.data.arrays import ImageSource
    from alexnet_cli.data.catalog import Dataset, Split
    from alexnet_cli.manifest import Provenance

_NUM_NAMED = 5  # classes that a message names


def load_images(models: "Sequence[OpenedModel]", data: str, split: "Split") -> "ImageSource":
    """Return the images of a part of a dataset on which models can be measured.

    Raises:
        UsageError: A model knows other classes than the dataset or the first model, or was trained
            on what another held out.
    """
    from alexnet_cli.data.catalog import Split, find_dataset, load_split

    _require_same_classes(models)
    dataset = find_dataset(data)
    _require_known_classes(models[0], dataset)
    if split is Split.VAL:
        for each in models:
            _require_same_division(dataset, each.manifest.provenance)
        _require_same_held_out(models, dataset)
    origin = models[0].manifest.provenance
    return load_split(dataset, split, val_size=origin.val_size, seed=origin.seed)


def common_data(models: "Sequence[OpenedModel]") -> str:
    """Return the dataset that all models were trained on.

    Raises:
        UsageError: They were trained on several.
    """
    from alexnet_cli.errors import UsageError

    first = models[0]
    name = first.manifest.provenance.data
    for other in models[1:]:
        if other.manifest.provenance.data != name:
            _require_same_classes(models)
            raise UsageError(
                f"{first.path} was trained on {name}, {other.path} on "
                f"{other.manifest.provenance.data}: it is unclear on which to compare them",
                hint=f"name one: --data {shlex.quote(name)}",
                code="data_differ",
            )
    return name


def _require_known_classes(opened: "OpenedModel", dataset: "Dataset") -> None:
    from alexnet_cli.errors import UsageError

    known, origin = opened.manifest.classes, opened.manifest.provenance
    if dataset.classes != known:
        raise UsageError(
            f"{opened.path} knows other classes than {dataset.name}: "
            + _differing(known=known, there=dataset.classes),
            hint=f"evaluate it on {origin.data}, whose classes it knows: --data "
            f"{shlex.quote(origin.data)}",
            code="classes_differ",
        )


def _require_same_classes(models: "Sequence[OpenedModel]") -> None:
    from alexnet_cli.errors import UsageError

    first = models[0]
    for other in models[1:]:
        if other.manifest.classes != first.manifest.classes:
            raise UsageError(
                f"{other.path} knows other classes than {first.path}: "
                + _differing(known=first.manifest.classes, there=other.manifest.classes),
                hint="measure each by itself: "
                + shlex.join(["alexnet", "evaluate", str(other.path)]),
                code="classes_differ",
            )


def _require_same_held_out(models: "Sequence[OpenedModel]", dataset: "Dataset") -> None:
    """Refuse to compare on images that one model held out and another may have been trained on."""
    from alexnet_cli.errors import UsageError

    first = models[0]
    divisions = {
        (each.manifest.provenance.val_size, each.manifest.provenance.seed) for each in models
    }
    if len(divisions) > 1 and dataset.load_val() is None:
        paths = shlex.join(str(each.path) for each in models)
        raise UsageError(
            f"not all of these models held out the same images as {first.path}: --val-size and "
            f"--seed differ",
            hint=f"compare them on the test set: alexnet evaluate {paths}",
            code="images_differ",
        )


def _require_same_division(dataset: "Dataset", origin: "Provenance") -> None:
    """Refuse to call images held out that may have been trained on."""
    from alexnet_cli.data.catalog import load_training
    from alexnet_cli.data.split import describe_split
    from alexnet_cli.errors import UsageError

    if dataset.name != origin.data or not origin.images:
        return
    now = describe_split(*load_training(dataset, val_size=origin.val_size, seed=origin.seed))
    if now != origin.images:
        raise UsageError(
            f"the images of {dataset.name} are no longer those of the training, so that some of "
            f"its validation images may have been trained on: {origin.images} then, {now} now",
            hint="put the folder back as it was, or measure on images of its test/ folder",
            code="images_differ",
        )


def _differing(*, known: tuple[str, ...], there: tuple[str, ...]) -> str:
    """Say which classes are on one side only; "it" is what is there."""
    parts = []
    for words, names, others in (("it lacks", known, there), ("it also has", there, known)):
        only = [name for name in names if name not in set(others)]
        if only:
            more = f" and {len(only) - _NUM_NAMED:,} more" if len(only) > _NUM_NAMED else ""
            parts.append(f"{words} {', '.join(only[:_NUM_NAMED])}{more}")
    return "; ".join(parts) or "they are in another order"
