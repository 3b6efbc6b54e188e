"""Getting archives: downloaded and hash-checked, or taken from a file the user already has.

pooch fetches (temporary file, hash); own code is the choice, the progress hook and the words.
"""

import contextlib
import logging
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from filelock import FileLock

from alexnet_cli.data.published import PublishedFile
from alexnet_cli.errors import DataError, DownloadError
from alexnet_cli.files import (
    atomic_copy,
    atomic_write,
    sha256_of,
    temporary_folder,
    writing_error,
)

_CONNECT_AND_READ_TIMEOUT_SECONDS = (10, 60)


class ProgressBar(Protocol):
    """What pooch, and the hashing here, report bytes to."""

    total: int

    def update(self, num_bytes: int) -> None:
        """Add bytes."""

    def reset(self) -> None:
        """Start again from nothing."""

    def close(self) -> None:
        """Finish."""


def find_file(archive: PublishedFile) -> Path:
    """Return the archive in the cache folder, its hash checked again.

    Raises:
        DataError: It is not there, or no longer what it was when it came in.
    """
    if not archive.path.is_file():
        raise DataError(
            f"{archive.name} is not in {archive.path.parent}",
            hint="fetch it with: alexnet download",
            code="data_missing",
        )
    if sha256_of(archive.path) != recorded_hash(archive):
        raise DataError(
            f"{archive.path} is damaged (sha256 differs)",
            hint="fetch it again with: alexnet download --force",
            code="data_corrupt",
        )
    return archive.path


def is_cached(archive: PublishedFile) -> bool:
    """Tell whether the archive is in the cache folder and sound."""
    return archive.path.is_file() and sha256_of(archive.path) == recorded_hash(archive)


def recorded_hash(archive: PublishedFile) -> str:
    """Return the hash that the file in the cache folder must have."""
    if archive.hash_path.is_file():
        return archive.hash_path.read_text().strip()
    return archive.sha256


def download_archive(
    archive: PublishedFile, *, progress: ProgressBar, force: bool = False, offline: bool = False
) -> None:
    """Fetch an archive into the cache folder and check its hash.

    Args:
        archive: What to fetch.
        progress: Told the bytes received.
        force: Fetch it even when a sound one is there.
        offline: Refuse to use the network.

    Raises:
        DownloadError: No network, an HTTP error, a broken connection or other bytes than published.
        AlexnetError: No space, or the cache folder cannot be written to.
    """
    if offline:
        raise _failed(archive, "--offline or ALEXNET_OFFLINE is set")
    with _lock(archive):
        if shutil.disk_usage(archive.path.parent).free < archive.num_bytes:
            raise _no_space(archive)
        if force or not is_cached(archive):
            with temporary_folder(archive.path.parent) as folder:
                atomic_copy(_retrieve(archive, folder, progress), archive.path)
            archive.hash_path.unlink(missing_ok=True)


@contextlib.contextmanager
def _lock(archive: PublishedFile) -> Iterator[None]:
    """Let one process at a time change the archive; create the cache folder."""
    lock = FileLock(f"{archive.path}.lock")
    try:
        archive.path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise writing_error(archive.path, error) from error
    try:
        yield
    finally:
        lock.release()


def _no_space(archive: PublishedFile) -> DownloadError:
    return DownloadError(
        f"{archive.path.parent} has less free space than the {archive.num_bytes:,} bytes of "
        f"{archive.name}",
        hint="free some space, or set ALEXNET_HOME to a folder on another disk",
        code="no_space",
    )


def _retrieve(archive: PublishedFile, folder: Path, progress: ProgressBar) -> Path:
    """Fetch the archive into a folder, check its hash, and return the file."""
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.ERROR)  # it would announce what it fetches
    downloader = pooch.HTTPDownloader(
        progressbar=progress,
        timeout=_CONNECT_AND_READ_TIMEOUT_SECONDS,
        headers={"Accept-Encoding": "identity"},
    )
    try:
        return Path(
            pooch.retrieve(
                archive.url,
                known_hash=f"sha256:{archive.sha256}",
                fname=archive.name,
                path=folder,
                downloader=downloader,
            )
        )
    except requests.exceptions.HTTPError as error:
        status = error.response.status_code if error.response is not None else "no status"
        raise _failed(archive, f"the server answered {status}") from error
    except requests.exceptions.Timeout as error:
        raise _failed(archive, "the server did not answer in time") from error
    except (
        requests.exceptions.ChunkedEncodingError,
        requests.exceptions.ContentDecodingError,
    ) as error:
        raise _failed(archive, "the connection broke off") from error
    except requests.exceptions.RequestException as error:
        raise _failed(archive, "no connection to the server") from error
    except OSError as error:  # the disk, or a certificate file that is not there
        raise _failed(archive, str(error)) from error
    except ValueError as error:  # pooch's word for a hash that differs
        raise _failed(archive, "what arrived is not the published file: sha256 differs") from error


def _failed(archive: PublishedFile, reason: str) -> DownloadError:
    return DownloadError(
        f"cannot download {archive.url} ({reason})",
        hint=f"try again later, or fetch {archive.name} in a browser and run: "
        f"alexnet download --archive {archive.name}",
    )


def take_archive(
    archive: PublishedFile,
    file: Path,
    *,
    sha256: str | None,
    check: Callable[[Path], object],
    progress: ProgressBar,
) -> None:
    """Copy a file that the user already has into the cache folder.

    Args:
        archive: What the file is offered as.
        file: The user's file; never changed.
        sha256: The hash the user vouches for; by default one of the official archives'.
        check: Reads the file, and raises if its content is not what it should be.
        progress: Told the bytes hashed.

    Raises:
        DataError: The file is missing, has another hash or another content.
        AlexnetError: No space, or the cache folder cannot be written to.
    """
    if not file.is_file():
        raise DataError(f"no such file: {file}", hint="check the path", code="data_missing")
    progress.total = file.stat().st_size
    found = sha256_of(file, progress.update)
    progress.close()
    allowed = (
        (sha256.lower(),)
        if sha256
        else (archive.sha256, *(other.sha256 for other in archive.equivalents))
    )
    if found not in allowed:
        raise _other_hash(archive, file, found, vouched=sha256)
    check(file)
    with _lock(archive):
        atomic_copy(file, archive.path)
        atomic_write(archive.hash_path, f"{found}\n".encode())


def _other_hash(
    archive: PublishedFile, file: Path, found: str, *, vouched: str | None
) -> DataError:
    if vouched:
        reason, hint = f"not {vouched.lower()} as given", "check the file and --sha256"
    else:
        size = file.stat().st_size
        short = f"; {size:,} of {archive.num_bytes:,} bytes" if size < archive.num_bytes else ""
        reason = f"not one of the official archives{short}"
        hint = (
            f"if you trust it: alexnet download --archive {shlex.quote(str(file))} --sha256 {found}"
        )
    return DataError(f"{file} has sha256 {found}, {reason}", hint=hint, code="hash_differs")
