"""Transfers that stall: a read timeout only sees that no byte comes, not that few do.

Bytes may drip in the body, but also in the head or between chunks, where nothing is handed on
until a line is whole. So a thread looks at what came, and closes the connection under the reader.

An HTTP session, and what its answers and failures mean for a file that is fetched.

A download that has not arrived whole yet, kept so that the next attempt can go on.

One file from one server over HTTP, going on where an earlier attempt ended.

requests speaks HTTP; own code is what it lacks: going on inside a file, a limit for a stalled
transfer, a cap on the bytes, and no way from https down to http.

Fetching published files: from which server, and only if the hash is right.

pooch checks what arrives and puts it in place (temporary file, hash, rename); `transfer` is the
downloader that it is given, `store` has the cache folder.
"""

import contextlib
import json
import logging
import os
import random
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import urljoin, urlsplit

import pooch
import requests
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from alexnet_cli import __version__
from alexnet_cli.data.cache import PublishedFile, is_cached, locked, record, recorded_hash
from alexnet_cli.errors import DataError, DownloadError
from alexnet_cli.files import (
    atomic_move,
    atomic_write,
    remove_old_temporaries,
    temporary_folder,
    writing_error,
)

_LEAST_BYTES_PER_SECOND = 1024  # less than this over a whole window is a stalled transfer


class Watch:
    """Looks at the bytes of a transfer, window after window.

    Attributes:
        has_stalled: Whether the connection was closed because too few came.
    """

    def __init__(self, window_seconds: float) -> None:
        self.has_stalled = False
        self._window_seconds, self._num_bytes = window_seconds, 0
        self._socket: socket.socket | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def count(self, num_bytes: int) -> None:
        """Count bytes of the body."""
        self._num_bytes += num_bytes

    def use(self, connected: socket.socket) -> None:
        """Name the connection that bytes come over now."""
        self._socket = connected

    def _look(self) -> None:
        while not self._over.wait(self._window_seconds):
            if self._num_bytes < _LEAST_BYTES_PER_SECOND * self._window_seconds:
                self.has_stalled = True
                if self._socket is not None:
                    with contextlib.suppress(OSError):  # it is closed already
                        # Not SSLSocket's own, which would go on reading without decryption.
                        socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
            self._num_bytes = 0


_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)


@contextlib.contextmanager
def watched(window_seconds: float) -> Iterator[Watch]:
    """Watch the requests that this thread makes with a `WatchedAdapter`.

    Args:
        window_seconds: Each window must bring at least `_LEAST_BYTES_PER_SECOND`.
    """
    watch = Watch(window_seconds)
    token = _watch.set(watch)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()
        _watch.reset(token)


@contextlib.contextmanager
def _shown(connected: Any) -> Iterator[None]:
    """Show the connection, over which the head of an answer is read here, to whoever watches."""
    watch = _watch.get()
    if watch is not None and isinstance(connected, socket.socket):  # TLS inside TLS is none
        watch.use(connected)
    yield
    if watch is not None and watch.has_stalled:
        raise TimeoutError  # what was read may be half of a head


class _Connection(HTTPConnection):
    def getresponse(self) -> urllib3.response.HTTPResponse:  # type: ignore[override]
        """Read the head of the answer."""
        with _shown(self.sock):
            return super().getresponse()


class _SecureConnection(HTTPSConnection):
    def getresponse(self) -> urllib3.response.HTTPResponse:  # type: ignore[override]
        """Read the head of the answer."""
        with _shown(self.sock):
            return super().getresponse()


_WATCHED: dict[Any, Any] = {HTTPConnection: _Connection, HTTPSConnection: _SecureConnection}


class WatchedAdapter(requests.adapters.HTTPAdapter):
    """Has requests make connections that can be watched, to proxies too (but SOCKS)."""

    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
        """Return the pool that makes the connections."""
        pool = super().get_connection_with_tls_context(*arguments, **options)
        pool.ConnectionCls = _WATCHED.get(pool.ConnectionCls, pool.ConnectionCls)
        return pool


_TEMPORARY = frozenset({408, 429, 500, 502, 503, 504})
_MAX_REDIRECTS = 5


class TransferError(Exception):
    """A server did not send the file.

    Attributes:
        temporary: Whether it may do so when asked again.
        wait_seconds: How long it asks to be left alone.
    """

    def __init__(
        self, reason: str, *, temporary: bool = False, wait_seconds: float | None = None
    ) -> None:
        super().__init__(reason)
        self.temporary, self.wait_seconds = temporary, wait_seconds


class DowngradeError(requests.RequestException):
    """A redirect from https to http."""


class Session(requests.Session):
    """Follows few redirects, none from https to http, and can be watched."""

    def __init__(self) -> None:
        super().__init__()
        self.max_redirects = _MAX_REDIRECTS
        for scheme in ("http://", "https://"):
            self.mount(scheme, WatchedAdapter())
        self.headers["Accept-Encoding"] = "identity"
        self.headers["User-Agent"] = f"alexnet/{__version__}"

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return where an answer redirects to, if it does."""
        target = super().get_redirect_target(resp)
        if target is None:
            return None
        resp.close()  # requests would read its body, which may have no end
        try:
            schemes = [urlsplit(url).scheme for url in (resp.url, urljoin(resp.url, target))]
        except ValueError as error:
            raise requests.exceptions.InvalidURL(target) from error
        if schemes == ["https", "http"]:
            raise DowngradeError
        return target


def require_content(response: requests.Response) -> None:
    """Refuse an answer that does not hold a file.

    Raises:
        TransferError: It does not.
    """
    status, headers = response.status_code, response.headers
    if status in _TEMPORARY:
        wait = _retry_after(headers.get("Retry-After"))
        raise TransferError(f"the server answered {status}", temporary=True, wait_seconds=wait)
    if status not in (requests.codes.ok, requests.codes.partial_content):
        raise TransferError(f"the server answered {status}")
    if "html" in headers.get("Content-Type", ""):
        raise TransferError("the server sent a web page")


def validator(response: requests.Response) -> str | None:
    """Return what names the version for If-Range: a strong ETag, else the time of the change."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _retry_after(value: str | None) -> float | None:
    try:
        return urllib3.Retry().parse_retry_after(value) if value else None
    except (urllib3.exceptions.InvalidHeader, ValueError, OverflowError):  # or absurdly large
        return None


def in_words(error: Exception) -> TransferError:
    """Describe what requests or urllib3 met."""
    permanent = (
        (DowngradeError, "it redirects from https to http, which anybody could read and change"),
        (requests.exceptions.TooManyRedirects, f"more than {_MAX_REDIRECTS} redirects"),
        (requests.exceptions.SSLError, "its certificate is not trusted"),
        (requests.exceptions.InvalidSchema, "only http and https addresses can be fetched"),
        (ValueError, "the address is not valid"),  # requests' InvalidURL and MissingSchema
    )
    for kind, reason in permanent:
        if isinstance(error, kind):
            return TransferError(reason)
    timed_out = (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError)
    if isinstance(error, timed_out):
        return TransferError("the server did not answer in time", temporary=True)
    broken = (requests.exceptions.ChunkedEncodingError, urllib3.exceptions.HTTPError)
    if isinstance(error, broken):
        return TransferError("the connection broke off", temporary=True)
    return TransferError("no connection to the server", temporary=True)


def without_password(url: str) -> str:
    """Return an address as it may be shown.

    Raises:
        DataError: It cannot be read as an address.
    """
    try:
        parts = urlsplit(url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    except ValueError as error:
        raise DataError(f"not an address: {url!r}", hint="check --mirror", code="url") from error


@dataclass(frozen=True)
class Part:
    """The bytes of a file that has not arrived whole yet, and the version they are of.

    Attributes:
        path: The file; beside it lies a JSON file with the address and the server's name for the
            version (an ETag, or the time of the last change).
    """

    path: Path

    @property
    def num_bytes(self) -> int:
        """Bytes that are there; 0 without a file."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def validator(self, url: str) -> str | None:
        """Return the version that the bytes are of at this address, if known."""
        try:
            known = json.loads(self._version_path.read_text())
            return str(known["validator"]) if known["url"] == url else None
        except (OSError, ValueError, KeyError, TypeError):
            return None  # the hash decides in the end; this only saves bytes

    def begin(self, url: str, validator: str | None) -> None:
        """Throw the bytes away and begin with another version."""
        self.remove()
        if validator is not None:
            document = json.dumps({"url": url, "validator": validator})
            atomic_write(self._version_path, document.encode())

    def remove(self) -> None:
        """Delete both files."""
        for path in (self.path, self._version_path):
            path.unlink(missing_ok=True)

    @property
    def _version_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")


_CHUNK_BYTES = 1 << 18
_PROGRESS_BYTES = 1 << 20  # an attempt that got so much farther does not count against the server
_LARGEST_BYTES = 1 << 30  # cap where the size is not known
_NUMBER = "[0-9]{1,18}"  # of which Python makes an integer whatever a server sends
_RANGE = rf"bytes ({_NUMBER})-{_NUMBER}/({_NUMBER}|\*)"
_NOTHING_THERE = requests.codes.requested_range_not_satisfiable


class ProgressBar(Protocol):
    """What bytes are reported to."""

    total: int

    def start_at(self, num_bytes: int) -> None:
        """Begin with so many bytes that were there already."""

    def update(self, num_bytes: int) -> None:
        """Add bytes."""

    def close(self) -> None:
        """Finish."""


@dataclass(frozen=True)
class Patience:
    """How long to put up with a server.

    Attributes:
        connect_seconds: For a connection.
        read_seconds: For the next byte.
        stall_seconds: Window in which at least a kibibyte a second must arrive.
        attempts: In a row, none of which gets a mebibyte farther.
        backoff_seconds: Before the second attempt; twice as long before each further one.
        longest_wait_seconds: A server that asks for more is given up.
    """

    connect_seconds: float = 10.0
    read_seconds: float = 30.0
    stall_seconds: float = 60.0
    attempts: int = 4
    backoff_seconds: float = 1.0
    longest_wait_seconds: float = 120.0


@dataclass
class Transfer:
    """What a download cost.

    Attributes:
        resumed_bytes: Of an earlier attempt's bytes, those that were kept.
        fetched_bytes: Received now, those that were thrown away included.
    """

    resumed_bytes: int = 0
    fetched_bytes: int = 0


class SharedPartError(Exception):
    """Another process writes to the same part, though a lock should keep it off."""


class Fetcher:
    """Fetches a file, or what is missing of it, from one address or another.

    Args:
        part: Where its bytes go; those that are there are kept if the server allows it.
        num_bytes: The size of the file, if known.
        patience: When to give up.
        progress: Told the bytes.
        say: Told why, and when, it is tried again.
    """

    def __init__(
        self,
        part: Part,
        *,
        num_bytes: int | None,
        patience: Patience,
        progress: ProgressBar,
        say: Callable[[str], None],
    ) -> None:
        self.part, self._num_bytes, self._patience = part, num_bytes, patience
        self._progress, self._say = progress, say
        self.transfer = Transfer()
        self.is_pieced = False  # of several answers, which may be of different versions

    def fetch(self, url: str) -> None:
        """Fetch what is missing.

        Raises:
            TransferError: The server did not send it, or sent something else.
            SharedPartError: The part is not this process's alone.
            AlexnetError: The part cannot be written.
        """
        if self._num_bytes and self.part.num_bytes > self._num_bytes:
            self.part.remove()
        if self._num_bytes and self.part.num_bytes == self._num_bytes:
            self._keep(self._num_bytes)
            return
        failures, farthest = 0, self.part.num_bytes
        with Session() as session:
            while True:
                try:
                    self._attempt(session, url)
                except TransferError as error:
                    # Not what was received: that may be the same bytes again and again.
                    gained = self.part.num_bytes - farthest
                    farthest += max(gained, 0)
                    failures = 1 if gained >= _PROGRESS_BYTES else failures + 1
                    self._wait_or_raise(error, failures)
                else:
                    return

    def _wait_or_raise(self, error: TransferError, failures: int) -> None:
        """Wait until it makes sense to ask again."""
        if not error.temporary or failures >= self._patience.attempts:
            raise error
        seconds = error.wait_seconds
        if seconds is None:
            seconds = self._patience.backoff_seconds * 2.0 ** (failures - 1)
            seconds *= random.uniform(0.5, 1.5)  # noqa: S311 - so that many do not return at once
        if seconds > self._patience.longest_wait_seconds:
            raise error
        self._say(f"{error}; trying again in {seconds:.0f} s")
        time.sleep(seconds)

    def _attempt(self, session: requests.Session, url: str) -> None:
        """Make one request and receive its answer."""
        offset, headers = self.part.num_bytes, {}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if (version := self.part.validator(without_password(url))) is not None:
                headers["If-Range"] = version
        timeouts = (self._patience.connect_seconds, self._patience.read_seconds)
        with watched(self._patience.stall_seconds) as watch:
            try:
                with session.get(url, headers=headers, timeout=timeouts, stream=True) as response:
                    self._take(response, url, offset, watch)
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                raise _stalled_or(in_words(error), watch) from error
            except TransferError as error:
                raise _stalled_or(error, watch) from error

    def _take(self, response: requests.Response, url: str, offset: int, watch: Watch) -> None:
        """Receive an answer, if it is one to what is missing from the offset on."""
        if offset and response.status_code == _NOTHING_THERE:
            self._keep(offset)
            return  # nothing is missing; the hash will tell whether that is so
        if not self._goes_on(response, offset):
            self.part.begin(without_password(url), validator(response))
            offset = 0
        if re.fullmatch(_NUMBER, length := response.headers.get("Content-Length", "")):
            self._progress.total = offset + int(length)
        self._keep(offset)
        self._receive(response, offset, watch)

    def _keep(self, num_bytes: int) -> None:
        """Note how much of what was there is not fetched again."""
        self.is_pieced = num_bytes > 0
        if not (num_bytes and self.transfer.fetched_bytes):
            self.transfer.resumed_bytes = num_bytes
        self._progress.start_at(num_bytes)

    def _goes_on(self, response: requests.Response, offset: int) -> bool:
        """Tell whether an answer goes on at the offset; False: it begins at the beginning.

        Raises:
            TransferError: It is neither.
        """
        require_content(response)
        headers, size = response.headers, self._num_bytes
        if response.status_code == requests.codes.partial_content:
            found = re.fullmatch(_RANGE, headers.get("Content-Range", ""))
            if found and int(found[1]) == offset and (not size or found[2] in ("*", str(size))):
                return True
            self.part.remove()  # its ranges cannot be used; the whole file may be right
            raise TransferError("the server sent another range than it was asked", temporary=True)
        length = headers.get("Content-Length", "")
        if size and re.fullmatch(_NUMBER, length) and int(length) != size:
            raise TransferError(f"the server has {int(length):,} bytes in place of {size:,}")
        return False

    def _receive(self, response: requests.Response, have: int, watch: Watch) -> None:
        """Write the body behind the bytes that are there."""
        largest = self._num_bytes or _LARGEST_BYTES
        try:
            with self.part.path.open("ab") as file:
                # Not decoded: servers call a .tar.gz "gzip" though it is what was published.
                while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=False):
                    self.transfer.fetched_bytes += len(chunk)
                    have += len(chunk)
                    if have > largest:
                        self.part.remove()
                        raise TransferError(f"the server sends more than {largest:,} bytes")
                    file.write(chunk)
                    file.flush()
                    _require_alone(file, have)
                    self._progress.update(len(chunk))
                    watch.count(len(chunk))
        except OSError as error:  # urllib3's errors are none
            raise writing_error(self.part.path, error) from error
        finally:
            if not self.part.num_bytes:
                self.part.remove()
        if watch.has_stalled and have != self._num_bytes:
            raise TransferError("the transfer stalled", temporary=True)
        if not (have or self._num_bytes):
            raise TransferError("the server sent an empty file")
        if self._num_bytes and have < self._num_bytes:
            raise TransferError(
                f"the connection broke off after {have:,} of {self._num_bytes:,} bytes",
                temporary=True,
            )


def _require_alone(file: BinaryIO, num_bytes: int) -> None:
    """Notice that another process writes to the same part, or has deleted it.

    Raises:
        SharedPartError: It does.
    """
    found = os.fstat(file.fileno())
    if found.st_size != num_bytes or not found.st_nlink:
        raise SharedPartError


def _stalled_or(error: TransferError, watch: Watch) -> TransferError:
    """Return what ended an attempt: a connection that is closed by the watch fails in many ways."""
    return TransferError("the transfer stalled", temporary=True) if watch.has_stalled else error


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
