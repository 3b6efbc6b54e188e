"""The datasets that can be named with --data."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from alexnet_cli.data import cifar10, shapes
from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.data.fetch import CIFAR10_ARCHIVE, find_archive
from alexnet_cli.data.split import stratified_split
from alexnet_cli.errors import UsageError


class Split(StrEnum):
    """Which part of a dataset."""

    TEST = "test"
    VAL = "val"


@dataclass(frozen=True)
class Dataset:
    """A dataset by name.

    Attributes:
        name: What --data calls it.
        classes: Class names in label order.
        image_size_px: Side of the stored square images.
        load: Returns the official training and test sets.
    """

    name: str
    classes: tuple[str, ...]
    image_size_px: int
    load: Callable[[], tuple[ImageArrays, ImageArrays]]


def _load_cifar10() -> tuple[ImageArrays, ImageArrays]:
    return cifar10.read_archive(find_archive(CIFAR10_ARCHIVE))


def _load_shapes() -> tuple[ImageArrays, ImageArrays]:
    return (
        ImageArrays(*shapes.draw_shapes(SHAPES_TRAIN_SIZE, seed=1)),
        ImageArrays(*shapes.draw_shapes(SHAPES_TEST_SIZE, seed=2)),
    )


SHAPES_TRAIN_SIZE, SHAPES_TEST_SIZE = 10_000, 2_000

DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset("cifar10", cifar10.CLASSES, cifar10.IMAGE_SIZE, _load_cifar10),
        Dataset("shapes", shapes.CLASSES, shapes.IMAGE_SIZE, _load_shapes),
    )
}


def find_dataset(name: str) -> Dataset:
    """Return the dataset of that name.

    Raises:
        UsageError: There is none.
    """
    if name not in DATASETS:
        raise UsageError(
            f"no dataset is called {name!r}",
            hint=f"choose --data from: {', '.join(DATASETS)}",
            code="unknown_dataset",
        )
    return DATASETS[name]


def load_training(dataset: Dataset, *, val_size: int, seed: int) -> tuple[ImageArrays, ImageArrays]:
    """Return the images to train on and the held-out validation images.

    The test set is not part of the answer: training cannot touch it.
    """
    official_train, _ = dataset.load()
    train, val = stratified_split(official_train.labels_N, val_size=val_size, seed=seed)
    return official_train.take(train), official_train.take(val)


def load_split(dataset: Dataset, split: Split, *, val_size: int, seed: int) -> ImageArrays:
    """Return the images to evaluate on.

    Args:
        dataset: The dataset.
        split: Test, or the validation images that a run with this `val_size` and `seed` held out.
        val_size: As in the run's configuration; ignored for the test set.
        seed: As in the run's configuration; ignored for the test set.
    """
    if split is Split.TEST:
        return dataset.load()[1]
    return load_training(dataset, val_size=val_size, seed=seed)[1]
