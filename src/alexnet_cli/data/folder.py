"""Image folders: `PATH/train/CLASS/…`, `PATH/val/…` and `PATH/test/…`, or `PATH/CLASS/…` alone.

Classes are the folders of the training split in the order of their names, whatever the test split
holds; names that begin with a dot do not count. Only names are read here, so that a set of any size
fits; a file is decoded when its image is loaded. Shape letters: N images.
"""

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.console import note
from alexnet_cli.data.content import Hashes, hash_files
from alexnet_cli.errors import DataError, join_some
from alexnet_cli.image import (
    SUFFIXES,
    LeftOut,
    check_header,
    read_square,
    silence_metadata_warnings,
)

TRAIN, VAL, TEST = "train", "val", "test"
_LIKE_SPLITS = (TRAIN, VAL, "valid", "validation", TEST)  # whatever their case
_LAYOUT = "put the images into {0}/train/CLASS/ and {0}/test/CLASS/, or into {0}/CLASS/"


@dataclass(frozen=True)
class ImageFolder:
    root: Path  # of the split
    names_N: NDArray[np.object_]  # paths below it, as str, sorted by class, then by name
    labels_N: NDArray[np.int64]  # 0 … number of classes - 1
    hashes_N: Hashes | None = None  # of the files' bytes, once they were computed
    left_out: str = ""  # what is not taken although it may be an image, in words

    def __len__(self) -> int:
        return len(self.labels_N)

    def take(self, indices: NDArray[np.int64]) -> Self:
        return replace(
            self,
            names_N=self.names_N[indices],
            labels_N=self.labels_N[indices],
            hashes_N=None if self.hashes_N is None else self.hashes_N[indices],
        )

    def hashes(self) -> Hashes:
        return hash_files(self.root, self.names_N) if self.hashes_N is None else self.hashes_N

    def hashed(self) -> Self:
        return replace(self, hashes_N=self.hashes())

    def paths(self) -> list[Path]:
        return [self.root / name for name in self.names_N]

    def load_images(self, size_px: int) -> NDArray[np.uint8]:
        """Decode and resize all files.

        Raises:
            DataError: A file is damaged; the message names it.
        """
        squares_NSSC = np.empty((len(self), size_px, size_px, 3), np.uint8)
        for index, name in enumerate(self.names_N):
            try:
                squares_NSSC[index] = read_square(self.root / name, size_px)
            except DataError as error:
                error.hint = f"replace or delete {self.root / name}"
                raise
        return squares_NSSC

    def require_headers(self) -> None:
        """Refuse a set with files that cannot be opened, before hours are spent on the others.

        Reads each file's header only: damage after it is found when the image is decoded.

        Raises:
            DataError: The message names the first such files and counts them all.
        """
        refused = []
        for path in self.paths():
            try:
                check_header(path)
            except DataError as error:
                refused.append(error.message)
        if refused:
            raise DataError(
                join_some(refused, separator="; "),
                hint="replace or delete these files",
                code="image_unreadable",
            )


def note_left_out(*sources: object, quiet: bool = False) -> None:
    """Print what was left out of the folders that images come from, each folder once."""
    texts = [source.left_out for source in sources if isinstance(source, ImageFolder)]
    for text in filter(None, dict.fromkeys(texts)):
        note(text, quiet=quiet)


def has_val(path: Path) -> bool:
    """Return True if a dataset's folder has a validation split of its own."""
    return (path / TRAIN).is_dir() and (path / VAL).is_dir()


def has_test(path: Path) -> bool:
    return (path / TRAIN).is_dir() and (path / TEST).is_dir()


def training_root(path: Path) -> Path:
    return path / TRAIN if (path / TRAIN).is_dir() else path


def list_classes(path: Path) -> tuple[str, ...]:
    """Return the class names of a dataset's folder, in label order.

    Raises:
        DataError: There are fewer than two, a name is not text, or it is unclear which folders are
            splits.
    """
    _require_clear_splits(path)
    root = training_root(path)
    classes = class_folders(root)
    if len(classes) < 2:
        found = f"only the folder {classes[0]!r}" if classes else "no folder of images"
        raise DataError(
            f"{root} has {found}; a classifier needs one for each of two classes or more",
            hint=_LAYOUT.format(path),
            code="no_classes",
        )
    return classes


def _require_clear_splits(path: Path) -> None:
    """Refuse a folder that looks like a split but would be a class, or be overlooked."""
    has_train = (path / TRAIN).is_dir()
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
        reason = _split_doubt(entry, has_train=has_train)
        if entry.name.lower() in _LIKE_SPLITS and reason:
            raise DataError(
                f"{path / entry.name} is named like a split, but {reason}",
                hint="rename it to train/ (and val/, test/), or to a name that is not a split's",
                code="split_name",
            )


def _split_doubt(entry: "os.DirEntry[str]", *, has_train: bool) -> str | None:
    if not has_train:
        return "there is no train/ next to it" if entry.is_dir() else None
    if not entry.is_dir():
        return "it is not a folder"
    return None if entry.name in (TRAIN, VAL, TEST) else "it is not train/, val/ or test/"


def labelled_root(path: Path, split: str) -> Path | None:
    """Return the folder that holds the class folders of a split, without looking into `train/`.

    For the test split that is `PATH/test`, or `PATH` itself if it has no splits.
    """
    if (path / split).is_dir():
        return path / split
    return path if split == TEST and not (path / TRAIN).is_dir() and path.is_dir() else None


def class_folders(root: Path) -> tuple[str, ...]:
    """Return the names of the class folders, sorted.

    Raises:
        DataError: A name is not text, or a link leads round in a circle.
    """
    entries = [e for e in os.scandir(root) if e.is_dir() and not e.name.startswith(".")]
    for entry in entries:
        if entry.is_symlink() and root.resolve().is_relative_to(target := Path(entry).resolve()):
            raise DataError(
                f"the class folder {root / entry.name} is a link to {target}, which it lies in",
                hint="remove the link",
                code="class_link",
            )
    names = sorted(entry.name for entry in entries)
    alike = {unicodedata.normalize("NFC", name): name for name in names}
    for name in names:
        if name != (other := alike[unicodedata.normalize("NFC", name)]):
            raise DataError(
                f"the class folders {name!a} and {other!a} in {root} look the same: their names "
                "are composed of different characters",
                hint="move the images into one of them and remove the other",
                code="class_name",
            )
    for name in names:
        if not name.isprintable():  # nor bytes that are not UTF-8: the manifest is text
            raise DataError(
                f"the name of the class folder {name!r} in {root} is not printable text",
                hint="rename it",
                code="class_name",
            )
    return tuple(names)


def scan_folder(
    root: Path, classes: tuple[str, ...], left_out: LeftOut | None = None
) -> ImageFolder:
    """List the images below the class folders of a split.

    Loose images next to the class folders, linked folders below them and images of other formats
    are left out and counted.

    Raises:
        DataError: A class folder is empty, or not of these classes.
    """
    silence_metadata_warnings()  # for good: threads share the filters
    present = class_folders(root)
    if unknown := set(present) - set(classes):
        raise DataError(
            f"{root} has classes that the training split does not have: "
            + join_some(sorted(unknown)),
            hint="remove these folders, or add them to the training split",
            code="classes_differ",
        )
    names: list[str] = []
    counts = []
    left_out = left_out or LeftOut()
    for entry in os.scandir(root):
        if entry.is_file() and not entry.name.startswith(".") and left_out.takes(entry.path):
            left_out.add("image next to the class folders", "move it into one")
    for name in classes:
        found = sorted(_image_names(root, name, left_out)) if name in present else []
        if name in present and not found:
            others = left_out.describe()
            raise DataError(
                f"the class folder {root / name} has no image" + (f"; {others}" if others else ""),
                hint=f"put images into it ({', '.join(SUFFIXES)}), or remove it",
                code="class_empty",
            )
        names += found
        counts.append(len(found))
    names_N = np.array(names, dtype=object)
    labels_N = np.repeat(np.arange(len(classes)), counts)
    return ImageFolder(root, names_N, labels_N, left_out=left_out.describe())


def _image_names(root: Path, name: str, left_out: LeftOut) -> Iterator[str]:
    """Yield the image files of a class, as paths below `root`."""
    for folder, subfolders, files in os.walk(root / name):
        subfolders[:] = [sub for sub in subfolders if not sub.startswith(".")]
        below = os.path.relpath(folder, root)
        for subfolder in subfolders:
            if Path(folder, subfolder).is_symlink():
                left_out.add_linked_folder()
        for file in files:
            if not file.startswith(".") and left_out.takes(f"{folder}/{file}"):
                yield f"{below}/{file}"


def load_train(path: Path, classes: tuple[str, ...]) -> ImageFolder:
    left_out = LeftOut()
    if (path / TRAIN).is_dir():
        for entry in os.scandir(path):
            is_split = entry.name in (TRAIN, VAL, TEST) or entry.name.startswith(".")
            if not is_split and entry.is_dir() and any(_image_names(path, entry.name, LeftOut())):
                left_out.add(f"folder next to {TRAIN}/", f"move it into {TRAIN}/")
    return scan_folder(training_root(path), classes, left_out)


def load_val(path: Path, classes: tuple[str, ...]) -> ImageFolder | None:
    """List the images of `val/`, if there is one.

    Raises:
        DataError: The split is empty, or not of these classes.
    """
    return _load_split(path / VAL, classes) if has_val(path) else None


def load_test(path: Path, classes: tuple[str, ...]) -> ImageFolder:
    """List the images of `test/`.

    Raises:
        DataError: There is no such split, it is empty, or not of these classes.
    """
    if not has_test(path):
        raise DataError(
            f"{path} has no test split (train/ and test/)",
            hint="measure on the images held out in training: alexnet evaluate --split val",
            code="no_test_split",
        )
    return _load_split(path / TEST, classes)


def _load_split(root: Path, classes: tuple[str, ...]) -> ImageFolder:
    folder = scan_folder(root, classes)
    if not len(folder):
        hint = _LAYOUT.format(root.parent)
        raise DataError(f"{root} has no images", hint=hint, code="no_images")
    return folder
