"""Published files in the cache folder: found, checked, taken from where the user put them."""

import contextlib
import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from alexnet_cli.data.published import PublishedFile
from alexnet_cli.errors import DataError
from alexnet_cli.files import atomic_copy, atomic_write, cache_folder, sha256_of, writing_error

if TYPE_CHECKING:
    from alexnet_cli.data.transfer import ProgressBar


def find_file(file: PublishedFile) -> Path:
    """Return a published file in the cache folder, its hash checked again.

    One that the user put into the working folder or the cache folder, by whatever name, is taken.

    Raises:
        DataError: It is not there, or no longer what it was when it came in.
    """
    if not file.path.is_file() and take_by_hand(file) is None:
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
    """Tell whether a published file is in the cache folder and sound."""
    return file.path.is_file() and sha256_of(file.path) == recorded_hash(file)


def recorded_hash(file: PublishedFile) -> str:
    """Return the hash that the file in the cache folder must have."""
    if file.hash_path.is_file():
        return file.hash_path.read_text().strip()
    return file.sha256


def take_by_hand(file: PublishedFile) -> Path | None:
    """Take a copy, or an equivalent, that the user put into the working or the cache folder.

    It is known by its hash, whatever its name. Only files of the right size are read, so the look
    costs nothing where there is none.

    Returns:
        The file that was taken; none if there is none.
    """
    hashes = {one.num_bytes: one.sha256 for one in (file, *file.equivalents)}
    for folder in (Path(), cache_folder()):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path == file.path or not path.is_file() or not os.access(path, os.R_OK):
                continue
            expected = hashes.get(path.stat().st_size)
            if expected is not None and sha256_of(path) == expected:
                _put_in_place(file, path, file_hash=expected)
                return path
    return None


def take_file(
    file: PublishedFile,
    source: Path,
    *,
    sha256: str | None,
    check: Callable[[Path], object],
    progress: "ProgressBar",
) -> None:
    """Copy a file that the user already has into the cache folder.

    Args:
        file: What it is offered as.
        source: The user's file; never changed.
        sha256: The hash the user vouches for; by default one of the official files'.
        check: Reads content that is no official file's, and raises if it is not what it should be.
        progress: Told the bytes hashed.

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
        raise _other_hash(file, source, found, vouched=sha256)
    if found not in file.accepted_hashes:
        check(source)
    _put_in_place(file, source, file_hash=found)


def _put_in_place(file: PublishedFile, source: Path, *, file_hash: str) -> None:
    with locked(file):
        atomic_copy(source, file.path)
        record(file, file_hash)


def record(file: PublishedFile, file_hash: str) -> None:
    """Note which content is in place, where it is not the published one."""
    if file_hash == file.sha256:
        file.hash_path.unlink(missing_ok=True)
    else:
        atomic_write(file.hash_path, f"{file_hash}\n".encode())


def _other_hash(file: PublishedFile, source: Path, found: str, *, vouched: str | None) -> DataError:
    if vouched:
        reason, hint = f"not {vouched.lower()} as given", "check the file and --sha256"
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
    file: PublishedFile, say: Callable[[str], None] = lambda _message: None
) -> Iterator[None]:
    """Let one process at a time change the file; create the cache folder."""
    lock = FileLock(f"{file.path}.lock")
    try:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"another process is fetching {file.name}; waiting for it")
            lock.acquire()
    except OSError as error:
        raise writing_error(file.path, error) from error
    try:
        yield
    finally:
        lock.release()
