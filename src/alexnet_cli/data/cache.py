"""The cache folder's published files: none is opened before its hash was verified."""

import contextlib
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from alexnet_cli.console import ByteProgress
from alexnet_cli.errors import DataError
from alexnet_cli.files import atomic_write, cache_folder, sha256_of, writing_error


@dataclass(frozen=True)
class PublishedFile:
    """A file with a known content."""

    dataset: str  # as --data calls it
    name: str  # in the cache folder
    url: str
    num_bytes: int | None  # none for other content that the user trusts, known by its hash
    sha256: str  # lowercase hexadecimal
    equivalents: tuple[tuple[int, str], ...] = ()  # bytes and hashes of files of the same images

    @property
    def path(self) -> Path:
        return cache_folder() / self.name

    @property
    def part_path(self) -> Path:
        """Path of the partial download."""
        return cache_folder() / f"{self.name}.{self.sha256[:12]}.part"

    @property
    def hash_path(self) -> Path:
        """Path of the hash of other content that the user trusts."""
        return cache_folder() / f"{self.name}.sha256"

    @property
    def command(self) -> str:
        return f"alexnet download --data {self.dataset}"

    @property
    def accepted_hashes(self) -> tuple[str, ...]:
        return (self.sha256, *(sha256 for _, sha256 in self.equivalents))


def find_file(file: PublishedFile) -> Path:
    """Return a published file in the cache folder, its hash checked again.

    A copy in the working folder or the cache folder, by whatever name, is adopted.

    Raises:
        DataError: It is not there, or no longer what it was when it came in.
    """
    if not file.path.is_file() and adopt_local_copy(file) is None:
        raise DataError(
            f"{file.name} is not in {file.path.parent}, nor in this folder",
            hint=f"fetch it with: {file.command}",
            code="data_missing",
        )
    if not is_cached(file):
        raise DataError(
            f"{file.path} is damaged (sha256 differs)",
            hint=f"fetch it again with: {file.command} --force",
            code="data_corrupt",
        )
    return file.path


def is_cached(file: PublishedFile) -> bool:
    """Return True if a published file is in the cache folder and undamaged."""
    return file.path.is_file() and sha256_of(file.path) == recorded_hash(file)


def recorded_hash(file: PublishedFile) -> str:
    """Return the hash that the file in the cache folder must have."""
    if file.hash_path.is_file():
        return file.hash_path.read_text().strip()
    return file.sha256


def record_hash(file: PublishedFile, sha256: str) -> None:
    """Keep the hash of the content in place, if it is not the published one."""
    if sha256 == file.sha256:
        file.hash_path.unlink(missing_ok=True)
    else:
        atomic_write(file.hash_path, f"{sha256}\n".encode())


def adopt_local_copy(file: PublishedFile) -> Path | None:
    """Copy the file, or an equivalent, from the working or the cache folder, and return its path.

    It is known by its hash, whatever its name. Only files of the right size are read.
    """
    hashes = dict([(file.num_bytes, file.sha256), *file.equivalents])
    for folder in (Path(), cache_folder()):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path == file.path or not path.is_file() or not os.access(path, os.R_OK):
                continue
            expected = hashes.get(path.stat().st_size)
            if expected is not None and sha256_of(path) == expected:
                _copy_into_cache(file, path, sha256=expected)
                return path
    return None


def import_file(
    file: PublishedFile,
    source: Path,
    *,
    sha256: str | None,
    check: Callable[[Path], object],
    progress: ByteProgress,
) -> None:
    """Copy a file that the user names into the cache folder.

    Args:
        file: The published file that it replaces.
        source: The user's file; never changed.
        sha256: The hash the user trusts; by default one of the official files'.
        check: Reads content that is not official, or raises DataError.
        progress: Progress bar of the hash.

    Raises:
        DataError: The file is missing, has another hash or another content.
        AlexnetError: No space, or the cache folder cannot be written to.
    """
    if not source.is_file():
        raise DataError(f"no such file: {source}", hint="check the path", code="data_missing")
    progress.total = source.stat().st_size
    found = sha256_of(source, progress.update)
    progress.close()
    if found not in ((sha256.lower(),) if sha256 else file.accepted_hashes):
        raise _other_hash(file, source, found, trusted=sha256)
    if found not in file.accepted_hashes:
        check(source)
    _copy_into_cache(file, source, sha256=found)


def _copy_into_cache(file: PublishedFile, source: Path, *, sha256: str) -> None:
    with locked(file), source.open("rb") as content:
        atomic_write(file.path, content)
        record_hash(file, sha256)


def _other_hash(file: PublishedFile, source: Path, found: str, *, trusted: str | None) -> DataError:
    if trusted:
        reason, hint = f"not {trusted.lower()} as given", "check the file and --sha256"
    else:
        size = source.stat().st_size
        is_short = file.num_bytes is not None and size < file.num_bytes
        short = f"; {size:,} of {file.num_bytes:,} bytes" if is_short else ""
        reason = f"not one of the official files{short}"
        hint = f"if you trust it: {file.command} --archive {shlex.quote(str(source))}"
        hint += f" --sha256 {found}"
    return DataError(f"{source} has sha256 {found}, {reason}", hint=hint, code="hash_differs")


@contextlib.contextmanager
def locked(
    file: PublishedFile, notify: Callable[[str], None] = lambda _message: None
) -> Iterator[None]:
    """Let one process at a time change the file; create the cache folder."""
    lock = FileLock(f"{file.path}.lock")
    try:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            notify(f"another process is fetching {file.name}; waiting for it")
            lock.acquire()
    except OSError as error:
        raise writing_error(file.path, error) from error
    try:
        yield
    finally:
        lock.release()
