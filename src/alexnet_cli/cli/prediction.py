"""`alexnet predict` from a request to answers on stdout, without Typer."""

import itertools
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from alexnet_cli.cli.predict_request import PredictRequest
from alexnet_cli.console import (
    ImageCount,
    counted,
    csv_row,
    note,
    print_json,
    printable,
    report_error,
    stdout_console,
)
from alexnet_cli.errors import AlexnetError, DataError, UsageError
from alexnet_cli.files import write_new, writing_error
from alexnet_cli.image import LeftOut, silence_metadata_warnings
from alexnet_cli.inference.classify import Choice, Prediction, classify_one, classify_stream
from alexnet_cli.inference.inputs import STDIN, Source, find_images, listed_images
from alexnet_cli.inference.session import Model, load_model

FAST_START_MAX_IMAGES = 8
"""Up to this number of images, the session that starts fastest is used.

On two cores the other one starts 20 ms later for `alexnet-cifar`, most of a second for `alexnet`,
and then takes half the time per image.
"""
_NO_CLASS = "-"  # in place of a class, for people
_TABLE_IMAGES = 32  # in one table; a terminal gets one after the other
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # not names on Windows
_MAX_BYTES, _MAX_SUFFIX = 200, 30  # of a file's name; most file systems allow 255 in all


def predict(request: PredictRequest) -> int:
    """Classify the images of a request, and print the answers.

    Returns:
        The exit code: 1 if an image could not be read.

    Raises:
        AlexnetError: There is no usable model, or the request contradicts itself.
    """
    _check(request)
    silence_metadata_warnings()
    path = _model_path(request)
    left_out = LeftOut()
    if request.files_from:
        sources = listed_images(request.files_from, skip=request.copy_to, left_out=left_out)
    else:
        sources = find_images(request.images, skip=request.copy_to, left_out=left_out)
    # Not from a list, which may arrive slowly: the model is loaded meanwhile, for many images.
    first = [] if request.files_from else list(itertools.islice(sources, FAST_START_MAX_IMAGES + 1))
    is_many = request.files_from is not None or len(first) > FAST_START_MAX_IMAGES
    begin = time.perf_counter()
    model = load_model(path, device=request.device, for_many=is_many)
    deployment = model.manifest.deployment
    precision = f"{deployment.precision}, " if deployment else ""
    note(f"predicting with {path}, {precision}{model.provider}", quiet=request.quiet)
    if model.note:
        note(model.note)  # also when quiet: a fallback to the CPU must be seen
    loaded = time.perf_counter()
    num_images, num_failed = _report(_classify(model, first, sources, request), model, request)
    if text := left_out.describe():
        note(text, quiet=request.quiet)
    if request.verbose:
        seconds = time.perf_counter() - loaded
        # By default ONNX Runtime uses one thread per core.
        note(f"loaded in {(loaded - begin) * 1e3:,.0f} ms; {model.provider}, one thread per core")
        speed = f"{num_images / seconds:,.0f} images/s"
        note(f"{counted(num_images, 'image')} in {seconds:,.2f} s: {speed}")
    return 1 if num_failed else 0


def _check(request: PredictRequest) -> None:
    if not request.images and not request.files_from:
        raise UsageError("no images given", hint="name one, as in: alexnet predict photo.jpg")
    if request.images and request.files_from:
        raise UsageError("give IMAGES or --files-from, not both", hint="leave one of them out")
    if request.csv and request.json:
        raise UsageError("give --csv or --json, not both", hint="leave one out")
    if request.images.count(STDIN) > 1:
        raise UsageError("stdin is a single image", hint="give - once")
    if request.copy_to and STDIN in request.images:
        raise UsageError("an image on stdin cannot be copied", hint="leave out --copy-to or -")


def _model_path(request: PredictRequest) -> Path:
    if request.model and not request.precision and request.model.is_file():
        return request.model
    from alexnet_cli.run_folder import model_file

    return model_file(request.model, request.precision, data=request.data)


def _classify(
    model: Model, first: list[Source], others: Iterable[Source], request: PredictRequest
) -> Iterator[Prediction]:
    """Classify a single image at once, several in batches while the next are decoded."""
    choice = Choice(request.top_k, request.threshold)
    if len(first) == 1:
        return iter([classify_one(model, first[0], choice)])
    sources = itertools.chain(first, others)
    return classify_stream(model, sources, choice, batch_size=request.batch_size)


def _report(
    predictions: Iterable[Prediction], model: Model, request: PredictRequest
) -> tuple[int, int]:
    """Print answers and errors as they come; return the numbers of images and of failures."""
    classes = model.manifest.classes
    num_images = num_failed = 0
    hints: set[str | None] = set()
    count = ImageCount(quiet=request.quiet)
    folders = ClassFolders(request.copy_to, classes) if request.copy_to else None

    def readable() -> Iterator[Prediction]:
        """Yield predictions without an error; copy their images, count, and report errors."""
        nonlocal num_images, num_failed
        for prediction in predictions:
            error = prediction.error
            if folders and prediction.top:
                try:
                    folders.copy(Path(prediction.source), prediction.top[0].index)
                except DataError as unreadable:
                    error = unreadable
            if prediction.error is None:
                yield prediction
            num_images += 1
            if error is not None:
                num_failed += 1
                count.clear()
                hint = error.hint if request.json or error.hint not in hints else None
                hints.add(error.hint)  # printed once: of many bad files each has one line
                report_error(error.message, hint, error.code, as_json=request.json)
            count.update(num_images)
        count.clear()

    print_predictions(readable(), classes, as_json=request.json, as_csv=request.csv)
    return num_images, num_failed


def print_predictions(
    predictions: Iterable[Prediction], classes: Sequence[str], *, as_json: bool, as_csv: bool
) -> None:
    """Print predictions as they come: JSON Lines, CSV, tables on a terminal, or plain lines.

    With `as_json` an image has one object, whose `class` is null where no class is probable enough;
    with `as_csv` one row per class, or a row with nothing but its name.
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
            cells = prediction.source, rank, c.name, c.index, f"{c.probability:.6f}"
            writer.writerow(csv_row(cells))
        if not prediction.top:
            writer.writerow(csv_row((prediction.source, "", "", "", "")))
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
    while shown := list(itertools.islice(predictions, _TABLE_IMAGES)):
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
    return rows or [(_NO_CLASS, _NO_CLASS)]


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
        folder = self._folder(self._names[index])
        wanted = folder / source.name
        while True:
            number = self._next.get(wanted, 1)
            target = folder / (wanted.name if number == 1 else _numbered(wanted, number))
            try:
                with _opened(source) as content:
                    write_new(target, content)
            except FileExistsError:
                self._next[wanted] = number + 1
                continue
            return target

    def _folder(self, name: str) -> Path:
        folder = self._root / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise writing_error(folder, error) from error
        if folder.is_symlink():
            raise AlexnetError(
                f"{folder} is a link; images are not copied out of {self._root}",
                hint="remove the link, or choose another --copy-to",
                code="not_writable",
            )
        return folder


def _opened(source: Path) -> BinaryIO:
    try:
        return source.open("rb")
    except OSError as error:
        raise DataError(
            f"cannot copy {source} ({error.strerror or error})", code="image_unreadable"
        ) from error


def _numbered(path: Path, number: int) -> str:
    """Return a file's name with a number, its stem cut where the name would be too long."""
    stem = os.fsdecode(os.fsencode(path.stem)[:_MAX_BYTES])
    return f"{stem}-{number}{path.suffix[:_MAX_SUFFIX]}"


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
