"""The images that a command line names: files, folders, patterns, lists of paths, and stdin.

Images are found while others are classified, so that memory does not grow with their number; only
the names in one folder are held at a time, to be sorted.
"""

import codecs
import fnmatch
import itertools
import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from alexnet_cli.errors import DataError
from alexnet_cli.image import SUFFIXES, ImageInput, LeftOut

STDIN = "-"
MAX_STDIN_BYTES = 1 << 29
_MAGIC = frozenset("*?[")
_CHUNK_BYTES = 1 << 16
_MIN_CHARACTERS = 4  # of UTF-16; fewer may be files with names of one letter


@dataclass(frozen=True)
class Source:
    name: str
    picture: ImageInput | None = None  # None if nothing was found
    error: DataError | None = None  # why nothing was found


def find_images(
    arguments: Iterable[str], *, skip: Path | None = None, left_out: LeftOut | None = None
) -> Iterator[Source]:
    """Find the images that arguments name, in their order.

    A file is taken whatever its name. In a folder and everything below it, and with a pattern that
    no shell has expanded (`*.png`, `photos/**`), files with the suffix of an image are taken, by
    name; hidden files and folders are left out, and linked folders are not followed.

    `-` is an image's bytes on stdin. The folder `skip` is left out. What may be an image too is
    counted in `left_out`.

    Yields:
        The images; an argument that names none gives an error in its place.
    """
    search = _Search(skip, left_out)
    for argument in arguments:
        if argument == STDIN:
            yield _from_stdin()
        else:
            yield from search.below(argument, is_pattern=bool(_MAGIC.intersection(argument)))


def listed_images(
    path: str, *, skip: Path | None = None, left_out: LeftOut | None = None
) -> Iterator[Source]:
    """Find the images in a list: one path per line, or each ended by a NUL (`find -print0`).

    The list `-` is stdin. The folder `skip` is left out.

    Yields:
        As `find_images`, but paths are taken literally: there are no patterns.

    Raises:
        DataError: The list cannot be read.
    """
    search = _Search(skip, left_out)
    for line in _lines(path):
        yield from search.below(line, is_pattern=False)


class _Search:
    """Finds the images below paths, without those in the folder `skip`."""

    def __init__(self, skip: Path | None, left_out: LeftOut | None) -> None:
        self._skip = skip.resolve() if skip else None
        self._left_out = left_out or LeftOut()

    def below(self, argument: str, *, is_pattern: bool) -> Iterator[Source]:
        path = Path(argument)
        # Not those of `Path`, which raise errors for a name too long or a device that is gone.
        is_folder, is_there = os.path.isdir(argument), os.path.exists(argument)  # noqa: PTH110, PTH112
        if not argument:  # as of "$unset" in a shell; Path("") would be the working folder
            error = DataError(
                "an empty path names no image", hint="name a file", code="image_missing"
            )
            yield Source(argument, error=error)
            return
        if "://" in argument and not is_there:
            error = DataError(
                f"{argument} is an address; predict reads files",
                hint=f"download it first: curl -O {shlex.quote(argument)}",
                code="image_missing",
            )
            yield Source(argument, error=error)
            return
        if "\0" in argument or not (is_folder or (is_pattern and not is_there)):
            yield Source(argument, path)
            return
        if is_folder:
            what, sources = "folder", self._walk(path)
        else:
            num_fixed = next(i for i, part in enumerate(path.parts) if _MAGIC.intersection(part))
            folder = Path(*path.parts[:num_fixed])
            what, sources = "pattern", self._match(folder, path.parts[num_fixed:])
        is_empty = True
        for source in sources:
            is_empty = False
            yield source
        if is_empty:
            others = self._left_out.describe() or f"images are called {', '.join(SUFFIXES)}"
            error = DataError(
                f"no image in the {what} {argument} ({others})",
                hint="check the path, or name the files themselves",
                code="no_images",
            )
            yield Source(argument, error=error)

    def _walk(self, folder: Path) -> Iterator[Source]:
        """Yield the images of a folder, then those of its folders."""
        try:
            entries = self._entries(folder)
        except OSError as error:
            unreadable = DataError(
                f"cannot read the folder {folder} ({error.strerror or error})",
                hint="check that it exists and may be read",
                code="folder_unreadable",
            )
            yield Source(str(folder), error=unreadable)
            return
        for name, is_folder in entries:
            if not is_folder and self._left_out.takes(folder / name):
                yield Source(str(folder / name), folder / name)
        for name, is_folder in entries:
            if is_folder:
                yield from self._walk(folder / name)

    def _match(self, folder: Path, parts: tuple[str, ...]) -> Iterator[Source]:
        """Yield the images below a folder that the parts of a pattern match.

        Unlike `glob`, by name, without following links, and holding only one folder's names.
        """
        while parts[:2] == ("**", "**"):
            parts = parts[1:]
        if parts in ((), ("**",)):
            yield from self._walk(folder)
            return
        is_any_depth = parts[0] == "**"
        if is_any_depth:
            yield from self._match(folder, parts[1:])
        below = parts if is_any_depth else parts[1:]
        try:
            entries = self._entries(folder)
        except OSError:  # a pattern leaves out what cannot be read, as in a shell
            return
        for name, is_folder in entries:
            is_match = is_any_depth or fnmatch.fnmatchcase(name, parts[0])
            if is_match and is_folder:
                yield from self._match(folder / name, below)
            elif is_match and not below and self._left_out.takes(folder / name):
                yield Source(str(folder / name), folder / name)

    def _entries(self, folder: Path) -> list[tuple[str, bool]]:
        """Return a folder's visible entries, sorted: the name, and True if it is a folder."""
        if self._skip is not None and folder.resolve() == self._skip:
            return []
        found = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink() and entry.is_dir():
                    self._left_out.add_linked_folder()
                elif not entry.name.startswith("."):
                    found.append((entry.name, entry.is_dir(follow_symlinks=False)))
        return sorted(found)


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
    """Yield the entries of a list as soon as they arrive.

    Raises:
        DataError: The list cannot be read, or is UTF-16 without a byte order mark.
    """
    separator, rest = b"", b""
    for chunk in _without_mark(_chunks(path)):
        rest += chunk
        if not separator and (b"\0" in rest or b"\n" in rest):
            separator = b"\0" if b"\0" in rest else b"\n"
            _refuse_utf16(rest, path)
        if separator:
            *lines, rest = rest.split(separator)
            yield from (os.fsdecode(line) for each in lines if (line := each.removesuffix(b"\r")))
    if line := rest.removesuffix(b"\r"):
        yield os.fsdecode(line)


def _without_mark(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Drop a byte order mark, and turn UTF-16 that begins with one into UTF-8."""
    first = next(chunks, b"")
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        decoder = codecs.getincrementaldecoder("utf-16")("replace")
        for chunk in itertools.chain([first], chunks):
            yield decoder.decode(chunk).encode(errors="replace")
    else:
        yield first.removeprefix(codecs.BOM_UTF8)
        yield from chunks


def _refuse_utf16(begin: bytes, path: str) -> None:
    """Refuse a list with a NUL after or before each character: entries `/` would be folders."""
    entries = begin[:64].split(b"\0")
    if len(entries) > _MIN_CHARACTERS and all(len(entry) <= 1 for entry in entries):
        raise DataError(
            f"the list {path} seems to be UTF-16", hint="save it as UTF-8", code="list_unreadable"
        )


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
