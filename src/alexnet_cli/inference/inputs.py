"""Which images a command line names: files, folders, patterns, lists of paths, and stdin.

Everything is found while it is classified, so that memory does not grow with the number of images;
only the names in one folder are held at a time, to be taken in their order.
"""

import fnmatch
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from alexnet_cli.errors import DataError
from alexnet_cli.image import SUFFIXES, ImageInput

STDIN = "-"
MAX_STDIN_BYTES = 1 << 29
_MAGIC = frozenset("*?[")
_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class Source:
    """An image to classify.

    Attributes:
        name: What to call it.
        picture: Where its pixels come from; None where nothing was found.
        error: Why nothing was found.
    """

    name: str
    picture: ImageInput | None = None
    error: DataError | None = None


def find_images(arguments: Iterable[str], *, skip: Path | None = None) -> Iterator[Source]:
    """Find what arguments name, in their order.

    A file is taken whatever it is called. Of a folder and everything below it, and of a pattern
    that no shell has expanded (`*.png`, `photos/**`), the files with an image's suffix are, by
    name; what begins with a dot does not count, and linked folders are not followed.

    Args:
        arguments: Paths and patterns; `-` is an image's bytes on stdin.
        skip: A folder that is not looked into.

    Yields:
        The images; an argument that names none gives an error in its place.
    """
    skip = skip.resolve() if skip else None
    for argument in arguments:
        if argument == STDIN:
            yield _from_stdin()
        else:
            yield from _below(argument, skip, is_pattern=bool(_MAGIC.intersection(argument)))


def listed_images(path: str, *, skip: Path | None = None) -> Iterator[Source]:
    """Find what a list names: one path a line, or paths each ended by a NUL (`find -print0`).

    Args:
        path: The list; `-` is stdin.
        skip: A folder that is not looked into.

    Yields:
        As `find_images`, but paths are taken literally: there are no patterns.

    Raises:
        DataError: The list cannot be read.
    """
    skip = skip.resolve() if skip else None
    for line in _lines(path):
        yield from _below(line, skip, is_pattern=False)


def _below(argument: str, skip: Path | None, *, is_pattern: bool) -> Iterator[Source]:
    path, found = Path(argument), 0
    if not argument:  # as of "$unset" in a shell; Path("") would be the working folder
        error = DataError("an empty path names no image", hint="name a file", code="image_missing")
        yield Source(argument, error=error)
        return
    if "\0" in argument or not (path.is_dir() or (is_pattern and not path.exists())):
        yield Source(argument, path)
        return
    sources = _walk(path, skip) if path.is_dir() else _match(path, skip)
    for source in sources:
        found += 1
        yield source
    if not found:
        what = "folder" if path.is_dir() else "pattern"
        yield Source(
            argument,
            error=DataError(
                f"no image in the {what} {argument} (only files called {', '.join(SUFFIXES)})",
                hint="check the path, or name the files themselves",
                code="no_images",
            ),
        )


def _walk(folder: Path, skip: Path | None) -> Iterator[Source]:
    """Yield the images of a folder, then those of its folders."""
    entries = _entries(folder, skip)
    if isinstance(entries, DataError):
        yield Source(str(folder), error=entries)
        return
    for name, is_folder in entries:
        if not is_folder and name.lower().endswith(SUFFIXES):
            yield Source(str(folder / name), folder / name)
    for name, is_folder in entries:
        if is_folder:
            yield from _walk(folder / name, skip)


def _match(pattern: Path, skip: Path | None) -> Iterator[Source]:
    parts = pattern.parts
    fixed = next(place for place, part in enumerate(parts) if _MAGIC.intersection(part))
    yield from _match_below(Path(*parts[:fixed]), parts[fixed:], skip)


def _match_below(folder: Path, parts: tuple[str, ...], skip: Path | None) -> Iterator[Source]:
    """Yield the images below a folder that a pattern's remaining parts match."""
    while parts[:2] == ("**", "**"):
        parts = parts[1:]
    if parts == ("**",):
        yield from _walk(folder, skip)
        return
    is_any_depth, rest = parts[0] == "**", parts[1:]
    if is_any_depth:
        yield from _match_below(folder, rest, skip)
    entries = _entries(folder, skip)
    for name, is_folder in [] if isinstance(entries, DataError) else entries:
        if is_any_depth and is_folder:
            yield from _match_below(folder / name, parts, skip)
        elif not is_any_depth and fnmatch.fnmatchcase(name, parts[0]):
            yield from _matched(folder / name, rest, skip, is_folder=is_folder)


def _matched(
    path: Path, rest: tuple[str, ...], skip: Path | None, *, is_folder: bool
) -> Iterator[Source]:
    if is_folder:
        yield from _match_below(path, rest, skip) if rest else _walk(path, skip)
    elif not rest and path.name.lower().endswith(SUFFIXES):
        yield Source(str(path), path)


def _entries(folder: Path, skip: Path | None) -> list[tuple[str, bool]] | DataError:
    """List what is in a folder and not hidden, by name, and whether each is a folder."""
    try:
        if skip is not None and folder.resolve() == skip:
            return []
        with os.scandir(folder) as entries:
            return sorted(
                (entry.name, entry.is_dir(follow_symlinks=False))
                for entry in entries
                if not entry.name.startswith(".")
            )
    except OSError as error:
        return DataError(
            f"cannot read the folder {folder} ({error.strerror or error})",
            hint="check that it exists and may be read",
            code="folder_unreadable",
        )


def _from_stdin() -> Source:
    content = bytearray()
    while len(content) <= MAX_STDIN_BYTES:
        chunk = os.read(sys.stdin.fileno(), _CHUNK_BYTES)
        if not chunk:
            break
        content += chunk
    if 0 < len(content) <= MAX_STDIN_BYTES:
        return Source(STDIN, bytes(content))
    reason = "more bytes than an image has" if content else "it is empty"
    error = DataError(
        f"no image on standard input ({reason})",
        hint="pipe one into it, as in: alexnet predict - < photo.jpg",
        code="image_unreadable",
    )
    return Source(STDIN, error=error)


def _lines(path: str) -> Iterator[str]:
    """Yield the entries of a list as soon as they are there."""
    separator, rest = b"", b""
    for chunk in _chunks(path):
        rest += chunk
        if not separator and (b"\0" in rest or b"\n" in rest):
            separator = b"\0" if b"\0" in rest else b"\n"
        if separator:
            *whole, rest = rest.split(separator)
            yield from map(_path, filter(None, map(_stripped, whole)))
    if _stripped(rest):
        yield _path(_stripped(rest))


def _stripped(line: bytes) -> bytes:
    return line.removesuffix(b"\r")


def _path(line: bytes) -> str:
    return os.fsdecode(line)


def _chunks(path: str) -> Iterator[bytes]:
    # Read without Python's buffer: it waits for more than is there, and locks at the end.
    try:
        descriptor = sys.stdin.fileno() if path == STDIN else os.open(path, os.O_RDONLY)
    except OSError as error:
        raise DataError(
            f"cannot read the list {path} ({error.strerror or error})",
            hint="name a file with one path a line, or - for standard input",
            code="list_unreadable",
        ) from error
    try:
        while chunk := os.read(descriptor, _CHUNK_BYTES):
            yield chunk
    finally:
        if path != STDIN:
            os.close(descriptor)
