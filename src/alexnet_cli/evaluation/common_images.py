"""Images on which models can be measured and compared; what cannot be compared is refused."""

import shlex
from collections.abc import Sequence

from alexnet_cli.data.arrays import ImageSource
from alexnet_cli.data.datasets import (
    Dataset,
    Split,
    find_dataset,
    load_split,
    load_training,
    split_fingerprint,
)
from alexnet_cli.errors import UsageError, join_some
from alexnet_cli.evaluation.measure import OpenedModel
from alexnet_cli.manifest import Provenance


def load_images(models: Sequence[OpenedModel], data: str, split: Split) -> ImageSource:
    """Return the images of a split on which models can be measured.

    Raises:
        UsageError: A model has other classes than the dataset or the first model, or may have been
            trained on these images.
    """
    _require_same_classes(models)
    dataset = find_dataset(data)
    origin = models[0].manifest.provenance
    _require_classes(
        models[0],
        dataset.name,
        dataset.classes,
        hint="evaluate it on data that has its classes: --data " + shlex.quote(origin.data),
    )
    if split is Split.VAL:
        for each in models:
            _require_unchanged(dataset, each.manifest.provenance)
        _require_same_held_out(models, dataset)
    return load_split(dataset, split, val_size=origin.val_setting, seed=origin.seed)


def common_data(models: Sequence[OpenedModel]) -> str:
    """Return the dataset that all models were trained on.

    Raises:
        UsageError: They were trained on several.
    """
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


def _require_unchanged(dataset: Dataset, origin: Provenance) -> None:
    """Refuse to evaluate on changed images as held out: some may have been trained on."""
    if dataset.name != origin.data or not origin.images:
        return
    now = split_fingerprint(*load_training(dataset, val_size=origin.val_setting, seed=origin.seed))
    if now != origin.images:
        raise UsageError(
            f"the images of {dataset.name} have changed since the training, so that some of "
            f"its validation images may have been trained on: {origin.images} then, {now} now",
            hint="put the folder back as it was, or measure on images of its test/ folder",
            code="images_differ",
        )


def _require_same_held_out(models: Sequence[OpenedModel], dataset: Dataset) -> None:
    """Refuse to compare on images that one model held out and another may have been trained on."""
    origins = [each.manifest.provenance for each in models]
    settings = {(origin.val_setting, origin.seed) for origin in origins}
    if len(settings) == 1:
        return
    splits = (load_training(dataset, val_size=size, seed=seed) for size, seed in settings)
    if len({split_fingerprint(*split) for split in splits}) > 1:
        paths = shlex.join(str(each.path) for each in models)
        raise UsageError(
            f"not all of these models held out the same images as {models[0].path}: --val-size and "
            "--seed differ",
            hint=f"compare them on the test set: alexnet evaluate {paths}",
            code="images_differ",
        )
