"""The images of a run, known by their content: which were trained on and which were held out.

A new run draws its split and writes it down, in `images.npz` of its folder. From then on the record
decides, not the draw: files may be renamed, moved or added, and what was trained on stays so.
Shape letters: N images of a run, M of a folder as it is now.
"""

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.data.arrays import ImageSource
from alexnet_cli.data.content import Hashes, are_among, read_arrays, to_npz
from alexnet_cli.data.datasets import DATASETS, Dataset, find_dataset, load_training
from alexnet_cli.data.folder import ImageFolder
from alexnet_cli.errors import AlexnetError, DataError
from alexnet_cli.files import atomic_write
from alexnet_cli.manifest import PUBLIC_DATA, Provenance, data_title
from alexnet_cli.run_folder import RunFolder, find_run_of

_EARLIER_IMAGES = -1  # label of images that were trained on earlier and are not there now
_DTYPES: dict[str, np.dtype[Any]] = {
    "hash": np.dtype("<u8"),
    "label": np.dtype("<i4"),
    "trained_on": np.dtype("?"),
}
_ODD = np.uint64(0x9E3779B97F4A7C15)  # spreads labels over 64 bits


@dataclass(frozen=True)
class ImageRecord:
    """The content of `images.npz`: training images in their order, then validation images."""

    hashes_N: Hashes
    labels_N: NDArray[np.int64]
    trained_N: NDArray[np.bool_]  # trained on; the others were held out

    @property
    def trained_on(self) -> Hashes:
        return self.hashes_N[self.trained_N]

    def write(self, run: RunFolder) -> None:
        columns = (self.hashes_N, self.labels_N, self.trained_N)
        arrays = {
            name: column.astype(_DTYPES[name])
            for name, column in zip(_DTYPES, columns, strict=True)
        }
        atomic_write(run.images, to_npz(**arrays))


def read_record(run: RunFolder) -> ImageRecord | None:
    """Return the record of a run; None if it is damaged, or of a version that wrote none."""
    arrays = read_arrays(run.images, _DTYPES)
    if arrays is None:
        return None
    hashes_N, labels_N, trained_N = (arrays[name] for name in _DTYPES)
    return ImageRecord(
        hashes_N.astype(np.uint64), labels_N.astype(np.int64), trained_N.astype(bool)
    )


@dataclass(frozen=True)
class RunImages:
    """Training and validation images, hashed. The numbers compare a folder with the record."""

    train: ImageSource
    val: ImageSource
    num_new: int = 0  # in the folder, not in the record
    num_missing: int = 0  # in the record, not in the folder

    @property
    def fingerprint(self) -> str:
        """A name of the split: images, classes and order, but not the files' names and place."""
        digest = hashlib.sha256()
        for part in (self.train, self.val):
            digest.update(part.labels_N.astype("<i8").tobytes() + part.hashes().tobytes())
        return self._named(f"content {digest.hexdigest()[:12]}")

    def has_fingerprint(self, fingerprint: str) -> bool:
        """Compare with a recorded fingerprint; earlier versions hashed file names or labels."""
        if fingerprint == self.fingerprint:
            return True
        digest = hashlib.sha256()
        for part in (self.train, self.val):
            content = part.labels_N.tobytes()
            if isinstance(part, ImageFolder):
                content = "\0".join(part.names_N).encode("utf-8", "surrogateescape")
            digest.update(hashlib.sha256(content).digest())
        return fingerprint == self._named(digest.hexdigest()[:12])

    def _named(self, digest: str) -> str:
        return f"{len(self.train):,} to train on, {len(self.val):,} held out ({digest})"

    def record(self, before: ImageRecord | None = None) -> ImageRecord:
        """Return the record of these images, and of those that were trained on before."""
        parts = (self.train, self.val)
        hashes_N = np.concatenate([part.hashes() for part in parts])
        labels_N = np.concatenate([part.labels_N for part in parts])
        trained_N = np.arange(len(hashes_N)) < len(self.train)
        if before is None:
            return ImageRecord(hashes_N, labels_N, trained_N)
        others = before.trained_on[~are_among(before.trained_on, hashes_N[trained_N])]
        return ImageRecord(
            np.append(hashes_N, others),
            np.append(labels_N, np.full(len(others), _EARLIER_IMAGES)),
            np.append(trained_N, np.ones(len(others), bool)),
        )


def draw_images(
    dataset: Dataset, *, val_size: float | None, seed: int, trained_on: Hashes | None = None
) -> RunImages:
    """Draw the split of a new run, see `load_training`, and hash its images."""
    train, val = load_training(dataset, val_size=val_size, seed=seed, trained_on=trained_on)
    return RunImages(train.hashed(), val.hashed())


def restore_images(dataset: Dataset, record: ImageRecord, *, with_new: bool = True) -> RunImages:
    """Return the split of a run as recorded, in its order, whatever the files are called now.

    Added images come last and are trained on; without `with_new` they are left out. Copies of
    held-out images stay held out; copies of images that were trained on never are.
    """
    source, official_val = dataset.load_train().hashed(), dataset.load_val()
    known = record.labels_N != _EARLIER_IMAGES
    trained, held_out = known & record.trained_N, known & ~record.trained_N
    if official_val is not None:
        official_val = official_val.hashed()
        train, new_train = _match(record, trained, source)
        val, new_val = _match(record, held_out, official_val)
        is_seen = are_among(official_val.hashes()[new_val], record.trained_on)
        is_held_out = _are_held_out(source.hashes()[new_train], record)
        train_M = np.append(train[train >= 0], new_train[~is_held_out & with_new])
        val_M = np.append(val[val >= 0], new_val[~is_seen])
        num_missing = int((train < 0).sum() + (val < 0).sum())
        num_new = len(new_train) + len(new_val)
        return RunImages(source.take(train_M), official_val.take(val_M), num_new, num_missing)
    places, new = _match(record, known, source)
    is_trained = record.trained_N[known]
    is_held_out = _are_held_out(source.hashes()[new], record)
    train_M = np.append(places[is_trained & (places >= 0)], new[~is_held_out & with_new])
    val_M = np.append(places[~is_trained & (places >= 0)], new[is_held_out])
    num_missing = int((places < 0).sum())
    return RunImages(source.take(train_M), source.take(val_M), len(new), num_missing)


def _are_held_out(hashes_M: Hashes, record: ImageRecord) -> NDArray[np.bool_]:
    """Find images that the run held out, and did not also train on as copies."""
    is_known = are_among(hashes_M, record.hashes_N)
    return is_known & ~are_among(hashes_M, record.trained_on)


def _match(
    record: ImageRecord, rows: NDArray[np.bool_], source: ImageSource
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find recorded images in a source, by hash and class; equal ones pair up in order.

    Returns:
        For each chosen row the index of its image in the source, -1 where it is missing; then the
        indices of the images without a row, in order.
    """
    wanted_N = _keys(record.hashes_N[rows], record.labels_N[rows])
    present_M = _keys(source.hashes(), source.labels_N)
    order_M = np.argsort(present_M, kind="stable")
    sorted_M = present_M[order_M]
    places_N = np.searchsorted(sorted_M, wanted_N) + _occurrence(wanted_N)
    found = places_N < len(sorted_M)
    found[found] = sorted_M[places_N[found]] == wanted_N[found]
    indices_N = np.full(len(wanted_N), -1, np.int64)
    indices_N[found] = order_M[places_N[found]]
    is_other_M = np.ones(len(present_M), bool)
    is_other_M[indices_N[found]] = False
    return indices_N, np.flatnonzero(is_other_M)


def _keys(hashes_N: Hashes, labels_N: NDArray[np.int64]) -> Hashes:
    return hashes_N + labels_N.astype(np.uint64) * _ODD  # overflow is wanted


def _occurrence(keys_N: Hashes) -> NDArray[np.int64]:
    """Return how many equal keys come before each."""
    order_N = np.argsort(keys_N, kind="stable")
    sorted_N = keys_N[order_N]
    counts_N = np.empty(len(keys_N), np.int64)
    counts_N[order_N] = np.arange(len(keys_N)) - np.searchsorted(sorted_N, sorted_N)
    return counts_N


def find_training_data(model: Path, origin: Provenance) -> str:
    """Return the name of the dataset that a model was trained on, or the path of its folder.

    Only the settings of its run have the path. For a file away from its run: `origin.data`, a title
    that `find_images_folder` refuses.
    """
    run = find_run_of(model) if origin.data not in PUBLIC_DATA else None
    if run is not None:
        with contextlib.suppress(AlexnetError):
            data = str(run.read_settings().get("data"))
            if data_title(data) == origin.data:
                return data
    return origin.data


def find_images_folder(data: str, command: str) -> Dataset:
    """Return the dataset of a run, by its name or the absolute path of its folder.

    Raises:
        DataError: The folder is not known, or is gone; the hint is `command --data FOLDER`.
    """
    if data in DATASETS:
        return find_dataset(data)
    if not Path(data).is_absolute():
        raise DataError(
            f"it is not known where the images of {data} are",
            hint=f"name the folder: {command} --data FOLDER",
            code="images_gone",
        )
    if not Path(data).is_dir():
        raise DataError(
            f"the images are gone: there is no folder {data}",
            hint=f"name the folder where they are now: {command} --data FOLDER",
            code="images_gone",
        )
    return find_dataset(data)


def find_record(model: Path, origin: Provenance, *, data: str) -> ImageRecord | None:
    """Return which images a model was trained on.

    From the record of its run; without one, the split is drawn again, from `data` or else from the
    folder of its training, and must have the recorded fingerprint. None if it is unknown.
    """
    run = find_run_of(model)
    record = read_record(run) if run is not None else None
    if record is not None or not origin.images:
        return record
    for name in dict.fromkeys((data, find_training_data(model, origin))):
        try:
            dataset = find_dataset(name)
            images = draw_images(dataset, val_size=origin.val_setting, seed=origin.seed)
        except AlexnetError:  # no usable dataset there
            continue
        if images.has_fingerprint(origin.images):
            return images.record()
    return None


def find_run_images(
    model: Path, origin: Provenance, dataset: Dataset, record: ImageRecord | None
) -> RunImages:
    """Return the training and validation images of a model that are still there.

    `record` is that of `find_record`.

    Raises:
        DataError: The split is not known, or all its training or validation images are gone.
    """
    if not origin.images:
        return draw_images(dataset, val_size=origin.val_setting, seed=origin.seed)
    images = restore_images(dataset, record, with_new=False) if record is not None else None
    if images is None or not len(images.train) or not len(images.val):
        raise DataError(
            f"the images of {dataset.name} are not those that {model} was trained on: some that "
            "would count as held out may be training images",
            hint="put the folder back as it was, or name another one: --data FOLDER",
            code="images_differ",
        )
    return images


def count_identical(
    train: Hashes, val: Hashes | None, test: Hashes | None
) -> dict[str, int | None]:
    """Count byte-identical images within and between the splits, for JSON; None: no such split."""

    def shared(part: Hashes | None, other: Hashes | None) -> int | None:
        return None if part is None or other is None else int(are_among(part, other).sum())

    ordered = np.sort(train)
    return {
        "repeated_in_train": int((ordered[1:] == ordered[:-1]).sum()),
        "val_in_train": shared(val, train),
        "test_in_train": shared(test, train),
        "test_in_val": shared(test, val),
    }


def describe_identical(counts: Mapping[str, int | None]) -> str:
    """Return a sentence on images that are in two splits; "" if there are none."""
    texts = {
        "val_in_train": "validation images that are also training images",
        "test_in_train": "test images that are also training images",
        "test_in_val": "test images that are also validation images",
    }
    found = [f"{counts[name]:,} {text}" for name, text in texts.items() if counts.get(name)]
    return f"byte-identical: {', '.join(found)}" if found else ""
