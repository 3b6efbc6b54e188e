"""The output of `alexnet predict`, and copies of images in folders named after classes."""

import itertools
import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from alexnet_cli.console import print_json, printable, stdout_console
from alexnet_cli.errors import DataError
from alexnet_cli.files import writing_error
from alexnet_cli.inference.classify import Prediction

NONE = "-"  # in place of a class, for people
TABLE_IMAGES = 32  # in one table; a terminal gets one after the other


def print_predictions(
    predictions: Iterable[Prediction], classes: Sequence[str], *, as_json: bool, as_csv: bool
) -> None:
    """Print predictions as they come: JSON Lines, CSV, tables on a terminal, or plain lines.

    Args:
        predictions: Without errors.
        classes: Class names in index order.
        as_json: One object per image; `class` is null where no class is probable enough.
        as_csv: One row per class; an image without one has a row with nothing but its name.
    """
    if as_json:
        _print_json_lines(predictions)
    elif as_csv:
        _print_csv(predictions)
    elif sys.stdout.isatty() or os.environ.get("FORCE_COLOR"):
        _print_tables(predictions)
    else:
        _print_lines(predictions, width=max(map(len, map(printable, classes))))


def _print_json_lines(predictions: Iterable[Prediction]) -> None:
    for prediction in predictions:
        top = [
            {"class": c.name, "index": c.index, "probability": c.probability}
            for c in prediction.top
        ]
        first = top[0] if top else {"class": None, "index": None, "probability": None}
        print_json({"file": prediction.source, **first, "top": top})


def _print_csv(predictions: Iterable[Prediction]) -> None:
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("file", "rank", "class", "index", "probability"))
    for prediction in predictions:
        for rank, c in enumerate(prediction.top, start=1):
            writer.writerow((prediction.source, rank, c.name, c.index, f"{c.probability:.6f}"))
        if not prediction.top:
            writer.writerow((prediction.source, "", "", "", ""))
        sys.stdout.flush()


def _print_lines(predictions: Iterable[Prediction], *, width: int) -> None:
    """Print one line per class, the image last: aligned without knowing what comes, and for `grep`.

    Not through rich, whose import would take a third of the time of one answer.
    """
    for prediction in predictions:
        for name, share in _rows(prediction):
            print(f"{share:>6}  {name:<{width}}  {printable(prediction.source)}")
        sys.stdout.flush()


def _print_tables(predictions: Iterable[Prediction]) -> None:
    """Print a table, and of many images one after the other, so that none waits for all."""
    predictions = iter(predictions)
    while shown := list(itertools.islice(predictions, TABLE_IMAGES)):
        from rich.table import Table
        from rich.text import Text

        table = Table()
        table.add_column("image", overflow="fold")
        table.add_column("class")
        table.add_column("probability", justify="right")
        for prediction in shown:
            rows = _rows(prediction)
            for place, (name, share) in enumerate(rows):
                image = Text(printable(prediction.source) if place == 0 else "")
                last = 0 < place == len(rows) - 1
                table.add_row(image, Text(name), share, end_section=last)
        stdout_console().print(table)


def _rows(prediction: Prediction) -> list[tuple[str, str]]:
    rows = [(printable(c.name), f"{c.probability:.1%}") for c in prediction.top]
    return rows or [(NONE, NONE)]


_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # not names on Windows
_MAX_BYTES = 200


class ClassFolders:
    """Folders below `root`, named after classes, that take copies of images."""

    def __init__(self, root: Path, classes: Sequence[str]) -> None:
        self._root, self._names = root, folder_names(classes)
        self._next: dict[Path, int] = {}  # of the names that were taken

    def copy(self, source: Path, index: int) -> Path:
        """Copy an image into the folder of its class; a name that is taken gets a number.

        Raises:
            DataError: The image can no longer be read.
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
    """Copy a file, or raise FileExistsError if the target exists."""
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
    """Return a folder name for each class: its own, if it is valid on every system.

    Two classes never share a folder, not even on systems that ignore case.
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
