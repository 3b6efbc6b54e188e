"""The output of `alexnet predict`, image by image, and copies in folders named after classes."""

import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from alexnet_cli.console import print_json, printable, stdout_console
from alexnet_cli.errors import DataError
from alexnet_cli.files import writing_error
from alexnet_cli.inference.classify import Prediction

NONE = "-"  # in place of a class, for people
TABLE_IMAGES = 32  # a terminal gets a table of so many, then the next


class Answers(Protocol):
    """A form of output."""

    def write(self, prediction: Prediction) -> None:
        """Print an answer, now or with some of the next."""

    def close(self) -> None:
        """Print what is left."""


def choose_answers(classes: Sequence[str], *, as_json: bool, as_csv: bool) -> Answers:
    """Return the form asked for: JSON Lines, CSV, a table on a terminal, or plain lines."""
    if as_json:
        return JsonLines()
    if as_csv:
        return CsvRows()
    is_terminal = sys.stdout.isatty() or os.environ.get("FORCE_COLOR")
    return Tables() if is_terminal else PlainLines(classes)


class JsonLines:
    """One JSON object an image; `class` is null where no class is probable enough."""

    def write(self, prediction: Prediction) -> None:
        """Print one line."""
        top = [
            {"class": c.name, "index": c.index, "probability": c.probability}
            for c in prediction.top
        ]
        first = top[0] if top else {"class": None, "index": None, "probability": None}
        print_json({"file": prediction.source, **first, "top": top})

    def close(self) -> None:
        """Print nothing more."""


class CsvRows:
    """One row a class; an image without one has a row with nothing but its name."""

    def __init__(self) -> None:
        import csv

        self._writer = csv.writer(sys.stdout, lineterminator="\n")
        self._writer.writerow(("file", "rank", "class", "index", "probability"))

    def write(self, prediction: Prediction) -> None:
        """Print the rows of one image."""
        for rank, c in enumerate(prediction.top, start=1):
            share = f"{c.probability:.6f}"
            self._writer.writerow((prediction.source, rank, c.name, c.index, share))
        if not prediction.top:
            self._writer.writerow((prediction.source, "", "", "", ""))
        sys.stdout.flush()

    def close(self) -> None:
        """Print nothing more."""


class PlainLines:
    """One line a class, the image last: aligned without knowing what comes, and for `grep`.

    Not through rich, whose import would take a third of the time of one answer.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._width = max(map(len, map(printable, classes)))

    def write(self, prediction: Prediction) -> None:
        """Print the lines of one image."""
        image = printable(prediction.source)
        for c in prediction.top:
            print(f"{c.probability:6.1%}  {printable(c.name):<{self._width}}  {image}")
        if not prediction.top:
            print(f"{NONE:>6}  {NONE:<{self._width}}  {image}")
        sys.stdout.flush()

    def close(self) -> None:
        """Print nothing more."""


class Tables:
    """Tables for a terminal; of many images, one after the other, so that none waits for all."""

    def __init__(self) -> None:
        self._waiting: list[Prediction] = []

    def write(self, prediction: Prediction) -> None:
        """Keep an answer until a table is full."""
        self._waiting.append(prediction)
        if len(self._waiting) == TABLE_IMAGES:
            self.close()

    def close(self) -> None:
        """Print the answers that were kept."""
        if not self._waiting:
            return
        from rich.table import Table
        from rich.text import Text

        table = Table()
        table.add_column("image", overflow="fold")
        table.add_column("class")
        table.add_column("probability", justify="right")
        for prediction in self._waiting:
            rows = [(c.name, f"{c.probability:.1%}") for c in prediction.top] or [(NONE, NONE)]
            for place, (name, share) in enumerate(rows):
                image = Text(printable(prediction.source) if place == 0 else "")
                last = 0 < place == len(rows) - 1
                table.add_row(image, Text(printable(name)), share, end_section=last)
        stdout_console().print(table)
        self._waiting = []


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
