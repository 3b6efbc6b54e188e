"""An HTTP session for downloads: few redirects, none from https to http, and a limit for stalls.

A read timeout only notices that no byte comes, not that few do. Bytes may drip in the body, but
also in the head or between chunks, where nothing is returned until a line is complete. So a thread
counts what came, and closes the connection under the reader.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from alexnet_cli import __version__
from alexnet_cli.errors import DataError

_LEAST_BYTES_PER_SECOND = 1024  # less than this over a whole window is a stalled transfer


class Watch:
    """Counts the bytes of a transfer, window after window.

    Attributes:
        has_stalled: True once the connection was closed because too few came.
    """

    def __init__(self, window_seconds: float) -> None:
        self.has_stalled = False
        self._window_seconds, self._num_bytes = window_seconds, 0
        self._socket: socket.socket | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def start(self) -> None:
        """Start to count."""
        self._thread.start()

    def stop(self) -> None:
        """Stop to count."""
        self._over.set()
        self._thread.join()

    def count(self, num_bytes: int) -> None:
        """Count bytes of the body."""
        self._num_bytes += num_bytes

    def use(self, connected: socket.socket) -> None:
        """Set the connection to close."""
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
    """Register the connection, over which the head of a response is read here, with the watch."""
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
    """An adapter of requests whose connections can be watched, to proxies too (but SOCKS)."""

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
        temporary: True if a retry may succeed.
        wait_seconds: Time that the server asks to wait before it.
    """

    def __init__(
        self, reason: str, *, temporary: bool = False, wait_seconds: float | None = None
    ) -> None:
        super().__init__(reason)
        self.temporary, self.wait_seconds = temporary, wait_seconds


class DowngradeError(requests.RequestException):
    """A redirect from https to http."""


class Session(requests.Session):
    """A session that follows few redirects, none from https to http, and can be watched."""

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
    """Return the version for If-Range: a strong ETag, else the time of the last change."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _retry_after(value: str | None) -> float | None:
    try:
        return urllib3.Retry().parse_retry_after(value) if value else None
    except (urllib3.exceptions.InvalidHeader, ValueError, OverflowError):  # or absurdly large
        return None


def to_transfer_error(error: Exception) -> TransferError:
    """Return an error of requests or urllib3 as a TransferError."""
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
    """Return an address without its password.

    Raises:
        DataError: It cannot be read as an address.
    """
    try:
        parts = urlsplit(url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    except ValueError as error:
        raise DataError(f"not an address: {url!r}", hint="check --mirror", code="url") from error
