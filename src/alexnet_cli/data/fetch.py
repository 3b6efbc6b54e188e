"""Fetching published files: from which server, and only if the hash is right.

pooch checks what arrives and puts it in place (temporary file, hash, rename); `transfer` is the
downloader that it is given, `store` has the cache folder.
"""

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pooch

from alexnet_cli.data.part import Part
from alexnet_cli.data.published import PublishedFile
from alexnet_cli.data.session import TransferError, without_password
from alexnet_cli.data.store import is_cached, locked, record, recorded_hash
from alexnet_cli.data.transfer import Fetcher, Patience, ProgressBar, SharedPartError, Transfer
from alexnet_cli.errors import DataError, DownloadError
from alexnet_cli.files import atomic_move, remove_old_temporaries, temporary_folder, writing_error


@dataclass(frozen=True)
class FetchOptions:
    """How to fetch.

    Attributes:
        mirrors: Addresses of folders that hold the file too, asked first and in this order.
        sha256: Hash of other content that the user vouches for; only mirrors are asked then.
        check: Reads such content, and raises DataError if it is not what it should be.
        force: Fetch it even when a sound one is there.
        offline: Refuse to use the network.
        patience: When to give up a server.
    """

    mirrors: tuple[str, ...] = ()
    sha256: str | None = None
    check: Callable[[Path], object] = lambda _path: None
    force: bool = False
    offline: bool = False
    patience: Patience = field(default_factory=Patience)


def download(
    file: PublishedFile,
    options: FetchOptions,
    *,
    progress: ProgressBar,
    say: Callable[[str], None] = lambda _message: None,
) -> Transfer:
    """Fetch a file into the cache folder and check its hash.

    Args:
        file: What to fetch.
        options: How.
        progress: Told the bytes received.
        say: Told what is tried again, and why.

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
            Part(wanted.part_path),
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
    """Published content is known by its hash; nothing else needs to be looked at."""


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
    """Ask one address after the other until the file is in place."""
    reasons: list[str] = []
    for url in urls:
        have = Part(file.part_path).num_bytes
        say(f"fetching {without_password(url)}" + (f", from byte {have:,} on" if have else ""))
        _require_space(file)
        try:
            with temporary_folder(file.path.parent) as folder:
                arrived = _fetch_from(url, file, fetcher, folder, say)
                check(arrived)
                atomic_move(arrived, file.path)
        except DataError as error:
            Part(file.part_path).remove()
            raise _failed(file, [f"the hash is right, but {error.message}"]) from error
        except TransferError as error:
            reasons.append(f"{without_password(url)}: {error}")
            if len(reasons) < len(urls):
                say(f"{reasons[-1]}; asking the next server")
        else:
            Part(file.part_path).remove()
            return
    raise _failed(file, reasons)


def _fetch_copy(url: str, fetcher: Fetcher, output: str) -> None:
    """Fetch the part and copy it: nobody else writes what is checked then."""
    fetcher.fetch(url)
    try:
        shutil.copyfile(fetcher.part.path, output)
    except FileNotFoundError as error:
        raise SharedPartError from error


def _fetch_from(
    url: str, file: PublishedFile, fetcher: Fetcher, folder: Path, say: Callable[[str], None]
) -> Path:
    """Fetch the file into a folder, check its hash, and return it."""
    pooch.get_logger().setLevel(logging.ERROR)  # it would announce what it fetches

    def arrive(url: str, output: str, _pooch: object) -> None:
        try:
            _fetch_copy(url, fetcher, output)
        except SharedPartError:
            say("another process fetches it too, in spite of the lock; beginning again apart")
            fetcher.part = Part(folder / "part")
            _fetch_copy(url, fetcher, output)

    fetcher.part = Part(file.part_path)
    for is_last in (False, True):
        try:
            return Path(
                pooch.retrieve(
                    url, f"sha256:{file.sha256}", fname=file.name, path=folder, downloader=arrive
                )
            )
        except ValueError as error:  # pooch's word for a hash that differs
            fetcher.part.remove()
            if is_last or not fetcher.is_pieced:
                reason = "what arrived is not the published file: sha256 differs"
                raise TransferError(reason) from error
        except OSError as error:
            raise writing_error(file.path, error) from error
    raise AssertionError("the last attempt returns or raises")


def _require_space(file: PublishedFile) -> None:
    """Refuse what would fill the disk: the part, and its copy whose hash is checked."""
    if file.num_bytes is None:
        return
    needed = 2 * file.num_bytes - Part(file.part_path).num_bytes
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
