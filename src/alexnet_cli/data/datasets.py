"""The datasets that `--data` can name: classes, images, published files, train/validation split.

Sizes and hashes: the datasets' own pages and several independent public projects.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.data import folder, shapes
from alexnet_cli.data.arrays import ImageArrays, ImageSource
from alexnet_cli.data.cache import (
    TEST,
    TRAIN,
    PublishedFile,
    find_file,
    load_arrays,
    load_hashes,
)
from alexnet_cli.data.cifar import (
    CIFAR10,
    CIFAR100,
    IMAGE_SIZE,
    CifarLayout,
    read_archive,
    read_cifar10_1_images,
    read_cifar10_1_labels,
)
from alexnet_cli.data.content import Hashes, are_among
from alexnet_cli.errors import UsageError, did_you_mean
from alexnet_cli.manifest import data_name

_TORONTO = "https://www.cs.toronto.edu/~kriz"
_CIFAR10_1 = "https://raw.githubusercontent.com/modestyachts/CIFAR-10.1/master/datasets"
_DEFAULT_FRACTION, _MAX_BY_DEFAULT = 0.1, 5_000  # of the training images, held out
_SPLIT_STREAM = 0x5B117  # keeps this draw apart from others made from the same seed


CIFAR10_ARCHIVE = PublishedFile(
    "cifar10",
    "cifar-10-binary.tar.gz",
    f"{_TORONTO}/cifar-10-binary.tar.gz",
    170_052_171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    equivalents=(
        # cifar-10-python.tar.gz
        (170_498_071, "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"),
    ),
)
CIFAR100_ARCHIVE = PublishedFile(
    "cifar100",
    "cifar-100-binary.tar.gz",
    f"{_TORONTO}/cifar-100-binary.tar.gz",
    168_513_733,
    "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    equivalents=(
        # cifar-100-python.tar.gz
        (169_001_437, "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"),
    ),
)
CIFAR10_1_IMAGES = PublishedFile(
    "cifar10.1",
    "cifar10.1_v6_data.npy",
    f"{_CIFAR10_1}/cifar10.1_v6_data.npy",
    6_144_128,
    "2997188e5816f5bd545dc77771b6227828c28146049fcecf3fa10775474cacc6",
)
CIFAR10_1_LABELS = PublishedFile(
    "cifar10.1",
    "cifar10.1_v6_labels.npy",
    f"{_CIFAR10_1}/cifar10.1_v6_labels.npy",
    8_128,
    "ae40beda001693674edc94d925ee8268cfe68905f8f9aff800c8dcdfcd6c9448",
)


class Split(StrEnum):
    TEST = "test"
    VAL = "val"


@dataclass(frozen=True)
class Dataset:
    name: str  # as --data calls it
    classes: tuple[str, ...]  # in label order
    image_size_px: int | None  # side of the stored square images; none if they differ in size
    load_train: Callable[[], ImageSource]
    load_test: Callable[[], ImageSource]
    load_val: Callable[[], ImageSource | None] = lambda: None  # if it has a validation split
    # Of the test images, for which training may look; none of drawn images, which all differ.
    hash_test: Callable[[], Hashes | None] = lambda: None
    files: tuple[PublishedFile, ...] = ()  # to download; none for shapes and folders
    check: Callable[[Path], object] = lambda _path: None  # reads an archive or raises DataError


def _cifar(layout: CifarLayout, archive: PublishedFile) -> Dataset:
    return Dataset(
        layout.name,
        layout.classes,
        IMAGE_SIZE,
        load_train=lambda: load_arrays(archive, layout, TRAIN),
        load_test=lambda: load_arrays(archive, layout, TEST),
        hash_test=lambda: load_hashes(archive, layout, TEST),
        files=(archive,),
        check=lambda path: read_archive(path, layout),
    )


def _refuse_training() -> ImageSource:
    raise UsageError(
        "cifar10.1 has test images only: it measures models trained on cifar10",
        hint="train on the other images, alexnet train --data cifar10, and then measure on these: "
        "alexnet evaluate --data cifar10.1",
        code="no_training_images",
    )


def _load_cifar10_1() -> ImageArrays:
    return ImageArrays(
        read_cifar10_1_images(find_file(CIFAR10_1_IMAGES)),
        read_cifar10_1_labels(find_file(CIFAR10_1_LABELS)),
    )


DATASETS = {
    dataset.name: dataset
    for dataset in (
        _cifar(CIFAR10, CIFAR10_ARCHIVE),
        _cifar(CIFAR100, CIFAR100_ARCHIVE),
        Dataset(
            "cifar10.1",
            CIFAR10.classes,
            IMAGE_SIZE,
            load_train=_refuse_training,
            load_test=_load_cifar10_1,
            files=(CIFAR10_1_IMAGES, CIFAR10_1_LABELS),
        ),
        Dataset(
            "shapes",
            shapes.CLASSES,
            shapes.IMAGE_SIZE,
            load_train=lambda: ImageArrays(*shapes.draw_shapes(10_000, seed=1)),
            load_test=lambda: ImageArrays(*shapes.draw_shapes(2_000, seed=2)),
        ),
    )
}


def find_dataset(name: str) -> Dataset:
    """Return the dataset with that name, or the one in that folder.

    Raises:
        UsageError: There is none.
        DataError: The folder does not hold classes of images.
    """
    if name in DATASETS:
        return DATASETS[name]
    path = Path(data_name(name))
    if not name or not path.is_dir():
        raise UsageError(
            f"unknown dataset or folder {name!r}",
            hint=did_you_mean(
                name,
                DATASETS,
                hint=f"choose --data from: {', '.join(DATASETS)}, or name a folder of images",
            ),
            code="unknown_dataset",
        )
    classes = folder.list_classes(path)
    return Dataset(
        str(path),
        classes,
        image_size_px=None,
        load_train=lambda: folder.load_train(path, classes),
        load_test=lambda: folder.load_test(path, classes),
        load_val=lambda: folder.load_val(path, classes),
        hash_test=lambda: (
            folder.load_test(path, classes).hashes() if folder.has_test(path) else None
        ),
    )


def load_training(
    dataset: Dataset, *, val_size: float | None, seed: int, trained_on: Hashes | None = None
) -> tuple[ImageSource, ImageSource]:
    """Return the images to train on and the validation images: its own, or some held out.

    `val_size` is a number, a fraction below 1, or None for the default, see `num_held_out`. Images
    that weights to start from were `trained_on` are not validated on: of those drawn they are
    trained on again. The test set is not returned: training cannot touch it.
    """
    official_train, official_val = dataset.load_train(), dataset.load_val()
    if trained_on is not None:
        official_train = official_train.hashed()
    if official_val is not None:
        if trained_on is not None:
            was_seen = are_among(official_val.hashes(), trained_on)
            official_val = official_val.take(np.flatnonzero(~was_seen))
        return official_train, official_val
    train, val = stratified_split(official_train.labels_N, val_size=val_size, seed=seed)
    if trained_on is not None:
        was_seen = are_among(official_train.hashes()[val], trained_on)
        train, val = np.sort(np.append(train, val[was_seen])), val[~was_seen]
    return official_train.take(train), official_train.take(val)


def num_held_out(labels_N: NDArray[np.int64], val_size: float | None) -> int:
    """Return how many of the training images are held out for validation.

    `val_size` is a number of images, a fraction below 1, or None for a tenth, at most 5,000. A
    fraction and the default hold out and keep at least one image of each class that has two.

    Raises:
        UsageError: Nothing would be left to train on, or to validate on.
    """
    total = len(labels_N)
    if val_size is None or 0 < val_size < 1:
        spare = np.maximum(np.bincount(labels_N) - 1, 0)
        if not spare.any():
            raise UsageError(
                f"none of the {total} training images can be held out: no class has two",
                hint="add images, or put validation images of your own into val/CLASS/",
            )
        wanted = round(total * (val_size or _DEFAULT_FRACTION))
        if val_size is None:
            wanted = min(wanted, _MAX_BY_DEFAULT)
        return int(np.clip(wanted, np.count_nonzero(spare), spare.sum()))
    if not 0 < val_size < total:
        raise UsageError(
            f"cannot hold out {val_size} of {total} training images",
            hint=f"choose --val-size between 1 and {total - 1}, a fraction such as 0.1, or leave "
            "it out",
        )
    return int(val_size)


def stratified_split(
    labels_N: NDArray[np.int64], *, val_size: float | None, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw a validation set with each class in proportion.

    `val_size` is as in `num_held_out`.

    Returns:
        Indices of the training and of the validation images, each sorted; disjoint, together
        all N.

    Raises:
        UsageError: Nothing would be left to train on, or to validate on.
    """
    wanted = num_held_out(labels_N, val_size)
    counts = np.bincount(labels_N)
    least, most = np.zeros_like(counts), counts
    if val_size is None or val_size < 1:
        least, most = (counts > 1).astype(np.int64), np.maximum(counts - 1, 0)
    # Largest remainders: the quotas add up exactly.
    exact = counts * (wanted / len(labels_N))
    quota = np.clip(np.floor(exact).astype(np.int64), least, most)
    while quota.sum() < wanted:
        quota[np.argmax(np.where(quota < most, exact - quota, -np.inf))] += 1
    while quota.sum() > wanted:
        quota[np.argmin(np.where(quota > least, exact - quota, np.inf))] -= 1
    generator = np.random.default_rng([seed, _SPLIT_STREAM])
    held_out = np.zeros(len(labels_N), bool)
    for label, count in enumerate(quota):
        members = np.flatnonzero(labels_N == label)
        held_out[generator.permutation(members)[:count]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)
