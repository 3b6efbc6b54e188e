"""Copies of images in folders named after their classes, for `alexnet predict --copy-to`."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from alexnet_cli.errors import DataError
from alexnet_cli.files import writing_error

_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # not names on Windows
_MAX_BYTES = 200


class ClassFolders:
    """Copies images, never moves them; a name that is taken gets a number.

    Args:
        root: The folder of the folders, created when it is needed.
        classes: Class names in index order.
    """

    def __init__(self, root: Path, classes: Sequence[str]) -> None:
        self._root, self._names = root, folder_names(classes)
        self._next: dict[Path, int] = {}  # of the names that were taken

    def copy(self, source: Path, index: int) -> Path:
        """Copy an image into the folder of its class.

        Raises:
            DataError: It can no longer be read.
            AlexnetError: The copy cannot be written.
        """
        folder = self._root / self._names[index]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise writing_error(folder, error) from error
        wanted = folder / source.name
        while True:
            number = self._next.get(wanted, 1)
            name = wanted.name if number == 1 else f"{wanted.stem}-{number}{wanted.suffix}"
            try:
                _copy_new(source, folder / name)
            except FileExistsError:
                self._next[wanted] = number + 1
                continue
            return folder / name


def _copy_new(source: Path, target: Path) -> None:
    """Copy a file to a name that nothing has.

    Raises:
        FileExistsError: Something has.
        DataError: It can no longer be read.
        AlexnetError: The copy cannot be written.
    """
    try:
        reading = source.open("rb")
    except OSError as error:
        raise DataError(
            f"cannot copy {source} ({error.strerror or error})", code="image_unreadable"
        ) from error
    with reading:
        try:
            with target.open("xb") as writing:
                try:
                    shutil.copyfileobj(reading, writing)
                except OSError:
                    target.unlink()
                    raise
        except FileExistsError:
            raise
        except OSError as error:
            raise writing_error(target, error) from error


def folder_names(classes: Sequence[str]) -> list[str]:
    """Return a folder name for each class: its own, where that is one on every system.

    Two classes never share a folder, also where case does not count.
    """
    names: list[str] = []
    taken: set[str] = set()
    for name in map(_safe, classes):
        unique, number = name, 2
        while unique.casefold() in taken:
            unique, number = f"{name}-{number}", number + 1
        taken.add(unique.casefold())
        names.append(unique)
    return names


def _safe(name: str) -> str:
    name = _UNSAFE.sub("_", name)
    name = name.encode("utf-8", "replace")[:_MAX_BYTES].decode("utf-8", "ignore").rstrip(". ")
    if name.startswith(".") or _DEVICES.fullmatch(name) or not name:
        name = f"_{name}"
    return name
