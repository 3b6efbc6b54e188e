"""Published files from a mirror or their own server, accepted only if the hash is right."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from alexnet_cli.data.cache import PublishedFile, is_cached, locked, record, recorded_hash
from alexnet_cli.data.http_session import TransferError, without_password
from alexnet_cli.data.transfer import (
    Fetcher,
    PartialDownload,
    ProgressBar,
    RetryPolicy,
    SharedPartError,
    Transfer,
)
from alexnet_cli.errors import DataError, DownloadError
from alexnet_cli.files import (
    atomic_move,
    remove_old_temporaries,
    sha256_of,
    temporary_folder,
    writing_error,
)


@dataclass(frozen=True)
class FetchOptions:
    """Options of a download.

    Attributes:
        mirrors: Addresses of folders with the file, tried first and in this order.
        sha256: Hash of other content that the user vouches for; only mirrors are asked then.
        check: Reads such content, and raises DataError if it is not what it should be.
        force: Fetch it even when a sound one is there.
        offline: Refuse to use the network.
        patience: Timeouts and retries.
    """

    mirrors: tuple[str, ...] = ()
    sha256: str | None = None
    check: Callable[[Path], object] = lambda _path: None
    force: bool = False
    offline: bool = False
    patience: RetryPolicy = field(default_factory=RetryPolicy)


def download(
    file: PublishedFile,
    options: FetchOptions,
    *,
    progress: ProgressBar,
    say: Callable[[str], None] = lambda _message: None,
) -> Transfer:
    """Download a file into the cache folder and check its hash.

    Args:
        file: The file.
        options: Options.
        progress: Progress bar.
        say: Called with a message for each address, retry and failure.

    Raises:
        DownloadError: No network, an HTTP error, a broken connection or other bytes than published.
        AlexnetError: No space, or the cache folder cannot be written to.
    """
    wanted, urls = file, [_on_mirror(mirror, file) for mirror in options.mirrors]
    if options.sha256:
        wanted = replace(file, sha256=options.sha256.lower(), num_bytes=None)
    else:
        urls.append(file.url)
    if options.offline:
        raise _failed(file, ["--offline or ALEXNET_OFFLINE is set"])
    with locked(file, say):
        remove_old_temporaries(file.path.parent)
        is_there = is_cached(file) and recorded_hash(file) == wanted.sha256
        if is_there and not options.force:
            say(f"{file.name} is there already and sound")
            return Transfer()
        fetcher = Fetcher(
            PartialDownload(wanted.part_path),
            num_bytes=wanted.num_bytes,
            patience=options.patience,
            progress=progress,
            say=say,
        )
        check = options.check if options.sha256 else _trust
        _fetch_from_any(wanted, urls, fetcher, check=check, say=say)
        record(file, wanted.sha256)
        return fetcher.transfer


def _trust(_path: Path) -> None:
    """Accept published content, which its hash identifies."""


def _on_mirror(mirror: str, file: PublishedFile) -> str:
    return mirror if mirror.endswith(f"/{file.name}") else f"{mirror.rstrip('/')}/{file.name}"


def _fetch_from_any(
    file: PublishedFile,
    urls: list[str],
    fetcher: Fetcher,
    *,
    check: Callable[[Path], object],
    say: Callable[[str], None],
) -> None:
    """Try one address after the other until the file is in place."""
    reasons: list[str] = []
    for url in urls:
        have = PartialDownload(file.part_path).num_bytes
        say(f"fetching {without_password(url)}" + (f", from byte {have:,} on" if have else ""))
        _require_space(file)
        try:
            with temporary_folder(file.path.parent) as folder:
                arrived = _fetch_from(url, file, fetcher, folder, say)
                check(arrived)
                atomic_move(arrived, file.path)
        except DataError as error:
            PartialDownload(file.part_path).remove()
            raise _failed(file, [f"the hash is right, but {error.message}"]) from error
        except TransferError as error:
            reasons.append(f"{without_password(url)}: {error}")
            if len(reasons) < len(urls):
                say(f"{reasons[-1]}; trying the next server")
        else:
            PartialDownload(file.part_path).remove()
            return
    raise _failed(file, reasons)


def _fetch_from(
    url: str, file: PublishedFile, fetcher: Fetcher, folder: Path, say: Callable[[str], None]
) -> Path:
    """Fetch the file from one address into a folder, check its hash, and return it."""
    fetcher.part = PartialDownload(file.part_path)
    output = folder / file.name
    for is_last in (False, True):
        try:
            _fetch_copy(url, fetcher, output)
        except SharedPartError:
            say("another process downloads it too, in spite of the lock; starting again apart")
            fetcher.part = PartialDownload(folder / "part")
            _fetch_copy(url, fetcher, output)
        if sha256_of(output) == file.sha256:
            return output
        fetcher.part.remove()
        if is_last or not fetcher.is_pieced:  # of one answer: the next would be no better
            break
    raise TransferError("what arrived is not the published file: sha256 differs")


def _fetch_copy(url: str, fetcher: Fetcher, output: Path) -> None:
    """Complete the partial download and copy it: nobody else writes to the copy that is hashed."""
    fetcher.fetch(url)
    try:
        shutil.copyfile(fetcher.part.path, output)
    except FileNotFoundError as error:
        raise SharedPartError from error
    except OSError as error:
        raise writing_error(output, error) from error


def _require_space(file: PublishedFile) -> None:
    """Refuse to fill the disk with the partial download and the copy that is hashed."""
    if file.num_bytes is None:
        return
    needed = 2 * file.num_bytes - PartialDownload(file.part_path).num_bytes
    if shutil.disk_usage(file.path.parent).free < needed:
        raise DownloadError(
            f"{file.path.parent} has less free space than the {needed:,} bytes that fetching "
            f"{file.name} takes",
            hint="free some space, or set ALEXNET_HOME to a folder on another disk",
            code="no_space",
        )


def _failed(file: PublishedFile, reasons: list[str]) -> DownloadError:
    return DownloadError(
        f"cannot download {file.name} ({'; '.join(reasons)})",
        hint=f"try again later (what has arrived is kept), name another server with --mirror, or "
        f"fetch {file.url} in a browser and run {file.command} beside it",
    )
