"""Files: atomic writes, hashes, locks, and temporary and cache folders."""

import codecs
import contextlib
import errno
import glob
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from alexnet_cli.errors import AlexnetError, UsageError

if TYPE_CHECKING:
    from filelock import FileLock

_CHUNK_BYTES = 1 << 20
_PARTIAL_SUFFIX = ".part"
_FOLDER_PREFIX = ".alexnet-"
_NAME_HASH = 16  # hexadecimal digits

_temporaries: set[Path] = set()


def cache_folder() -> Path:
    """Return the folder for downloads: `ALEXNET_HOME`, else the platform's cache folder."""
    home = os.environ.get("ALEXNET_HOME")
    if home:
        try:
            return Path(home).expanduser()
        except RuntimeError as error:
            raise UsageError(
                f"ALEXNET_HOME names an unknown user: {home}", hint="set it to an absolute path"
            ) from error
    import platformdirs

    return platformdirs.user_cache_path("alexnet")


def decode_text(content: bytes) -> str:
    """Decode UTF-8, or UTF-16 that begins with its byte order mark, as Windows writes it.

    Raises:
        UnicodeDecodeError: It is neither.
    """
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_utf16 else "utf-8-sig")


def atomic_write(path: Path, content: bytes | BinaryIO) -> None:
    """Write a file so that a reader, or a crash, sees the old or the new content, never a mixture.

    A unique temporary file in the same folder is written and moved. The folder is created if
    necessary.

    Raises:
        AlexnetError: The disk is full or the folder cannot be written to.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=_PARTIAL_SUFFIX
        )
        temporary = Path(name)
        _temporaries.add(temporary)
        with os.fdopen(descriptor, "wb") as file:
            source = BytesIO(content) if isinstance(content, bytes) else content
            shutil.copyfileobj(source, file, _CHUNK_BYTES)
        atomic_move(temporary, path)
    except OSError as error:
        raise writing_error(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
            _temporaries.discard(temporary)


def write_new(path: Path, content: BinaryIO) -> None:
    """Write a new file, whose name appears when it is complete.

    Raises:
        FileExistsError: The name is taken.
        AlexnetError: The disk is full or the folder cannot be written to.
    """
    try:
        with temporary_folder(path.parent) as folder:
            part = folder / "part"
            with part.open("wb") as file:
                shutil.copyfileobj(content, file, _CHUNK_BYTES)
            _rename_new(part, path)
    except FileExistsError:
        raise
    except OSError as error:
        raise writing_error(path, error) from error


def _rename_new(source: Path, path: Path) -> None:
    """Rename a file, but not over another: a second link to it fails where the name is taken."""
    try:
        path.hardlink_to(source)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if os.path.lexists(path):
            raise FileExistsError(path) from None
        source.rename(path)


def atomic_move(source: Path, path: Path) -> None:
    """Flush a file to the disk and rename it to `path` on the same file system.

    Then the folder itself is flushed, so that the name survives a power cut.

    Raises:
        AlexnetError: The folder cannot be written to.
    """
    try:
        with source.open("rb") as file:
            source.chmod(0o666 & ~_umask())
            os.fsync(file.fileno())
        source.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise writing_error(path, error) from error


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # Windows cannot open folders; its rename is journalled
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    # The umask can only be read by setting it; mkstemp ignores it and always uses mode 0600.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def remove_partial_writes(path: Path) -> None:
    """Delete what killed processes left of a file that no other process may be writing now."""
    for partial in path.parent.glob(f".{glob.escape(path.name)}.*{_PARTIAL_SUFFIX}"):
        partial.unlink(missing_ok=True)


def writing_error(path: Path, error: OSError) -> AlexnetError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return AlexnetError(
            f"no space left on the device while writing {path}",
            hint="free some space, or choose another place with --output or ALEXNET_HOME",
            code="no_space",
        )
    return AlexnetError(
        f"cannot write {path} ({error.strerror or error})",
        hint="check that the folder exists and may be written to",
        code="not_writable",
    )


@contextlib.contextmanager
def temporary_folder(parent: Path | None = None) -> Iterator[Path]:
    """Create a folder that is deleted afterwards, even if a signal ends the process."""
    with tempfile.TemporaryDirectory(dir=parent, prefix=_FOLDER_PREFIX) as name:
        folder = Path(name)
        _temporaries.add(folder)
        try:
            yield folder
        finally:
            _temporaries.discard(folder)


def folder_identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a folder from another of the same name; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def remove_temporaries() -> None:
    """Delete unfinished files and folders of a process that is about to end without unwinding."""
    for path in list(_temporaries):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def lock_folder(folder: Path, *, busy: AlexnetError) -> contextlib.AbstractContextManager[object]:
    """Take the lock of a folder, its file `.lock`, without waiting for it; create the folder.

    Returns:
        A context manager that holds the lock already and releases it at its end.

    Raises:
        AlexnetError: `busy`, if another process holds the lock, or the folder cannot be written to.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise busy from error
    except OSError as error:
        raise writing_error(folder, error) from error
    held = contextlib.ExitStack()
    held.callback(release, lock)
    return held


def release(lock: "FileLock") -> None:
    """Release a lock and remove its file, which no user should have to wonder about.

    Removed while it is held: who has opened the old file meanwhile sees that it is gone, and
    opens a new one (filelock 4 checks that).
    """
    with contextlib.suppress(OSError):  # Windows does not remove an open file
        Path(lock.lock_file).unlink()
    lock.release()


def is_private(path: Path) -> bool:
    """Return whether a file or folder is the user's, or root's, and nobody else may write to it."""
    if os.name != "posix":
        return True
    status = path.stat()
    return status.st_uid in (0, os.getuid()) and not status.st_mode & 0o022


def keep_library(content: bytes, folder: Path, name: str) -> Path | None:
    """Keep a compiled library for later processes; its hash becomes the end of its name.

    Returns:
        Its path, or None where the folder cannot be written to or is not private.
    """
    path = folder / f"{name}-{hashlib.sha256(content).hexdigest()[:_NAME_HASH]}.so"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.name == "posix" and folder.stat().st_uid == os.getuid():
            folder.chmod(0o755)
        if not is_private(folder):
            return None
        atomic_write(path, content)
        path.chmod(0o644)
    except (OSError, AlexnetError):
        return None
    return path


def kept_libraries(folder: Path, name: str = "*") -> Iterator[Path]:
    """Yield the kept libraries of a name that may be executed: undamaged, and closed to others.

    They are the only cached files that are executed.
    """
    for path in folder.glob(f"{name}-*.so"):
        try:
            is_trusted = is_private(folder) and is_private(path)
            named_hash = path.stem.rpartition("-")[2]
            if is_trusted and sha256_of(path)[:_NAME_HASH] == named_hash:
                yield path
        except OSError:
            continue


def sha256_of(
    path: Path, on_bytes: Callable[[int], object] = lambda _: None, *, start: int = 0
) -> str:
    """Return the SHA-256 of a file, or of what follows its first bytes, as lowercase hexadecimal.

    `on_bytes` is called with the number of bytes after each chunk, for a progress bar.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(start)
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            on_bytes(len(chunk))
    return digest.hexdigest()
