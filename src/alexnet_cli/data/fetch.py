"""Published files from a mirror or their own server, accepted only if the hash is right."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from alexnet_cli.console import ByteProgress, hide_secrets
from alexnet_cli.data.cache import PublishedFile, is_cached, locked, record_hash, recorded_hash
from alexnet_cli.data.transfer import (
    Fetcher,
    PartialDownload,
    RetryPolicy,
    Transfer,
    TransferError,
)
from alexnet_cli.errors import DataError, DownloadError
from alexnet_cli.files import atomic_move, sha256_of


@dataclass(frozen=True)
class FetchOptions:
    mirrors: tuple[str, ...] = ()  # addresses of folders with the file, tried first, in this order
    sha256: str | None = None  # of other content that the user trusts; only mirrors are asked then
    check: Callable[[Path], object] = lambda _path: None  # reads such content or raises DataError
    force: bool = False  # download even if a sound copy is there
    offline: bool = False
    retry: RetryPolicy = field(default_factory=RetryPolicy)


def download(
    file: PublishedFile,
    options: FetchOptions,
    *,
    progress: ByteProgress,
    notify: Callable[[str], None] = lambda _message: None,
) -> Transfer:
    """Download a file into the cache folder and check its hash.

    `notify` is called with a message for each address, retry and failure.

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
    with locked(file, notify):
        if not options.force and is_cached(file) and recorded_hash(file) == wanted.sha256:
            notify(f"{file.name} is there already and sound")
            return Transfer()
        part = PartialDownload(wanted.part_path)
        fetcher = Fetcher(
            part, wanted.num_bytes, retry=options.retry, progress=progress, notify=notify
        )
        _fetch_from_any(wanted, urls, fetcher)
        if options.sha256:
            try:
                options.check(part.path)
            except DataError as error:
                part.remove()
                raise _failed(file, [f"the hash is right, but {error.message}"]) from error
        atomic_move(part.path, file.path)
        part.remove()
        record_hash(file, wanted.sha256)
        return fetcher.transfer


def _on_mirror(mirror: str, file: PublishedFile) -> str:
    folder, mark, query = mirror.partition("?")
    path = folder if folder.endswith(f"/{file.name}") else f"{folder.rstrip('/')}/{file.name}"
    return f"{path}{mark}{query}"


def _fetch_from_any(file: PublishedFile, urls: list[str], fetcher: Fetcher) -> None:
    """Try one address after the other until the partial download has the right hash."""
    reasons: list[str] = []
    for url in urls:
        address, have = hide_secrets(url), fetcher.part.num_bytes
        fetcher.notify(f"fetching {address}" + (f", from byte {have:,} on" if have else ""))
        _require_space(file, have)
        try:
            _fetch(url, file.sha256, fetcher)
        except TransferError as error:
            reasons.append(f"{address}: {error}")
            if len(reasons) < len(urls):
                fetcher.notify(f"{reasons[-1]}; trying the next server")
        else:
            return
    raise _failed(file, reasons)


def _fetch(url: str, sha256: str, fetcher: Fetcher) -> None:
    for _ in range(2):
        fetcher.fetch(url)
        if sha256_of(fetcher.part.path) == sha256:
            return
        fetcher.part.remove()
        if not fetcher.is_joined:  # from one response: the next would be no better
            break
    raise TransferError("what arrived is not the published file: sha256 differs")


def _require_space(file: PublishedFile, have: int) -> None:
    if file.num_bytes is None:
        return
    needed = file.num_bytes - have
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
        f"fetch {file.url} in a browser and run {file.command} in the same folder",
    )
