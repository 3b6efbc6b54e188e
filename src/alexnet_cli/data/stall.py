"""Transfers that stall: a read timeout only sees that no byte comes, not that few do.

Bytes may drip in the body, but also in the head or between chunks, where nothing is handed on
until a line is whole. So a thread looks at what came, and closes the connection under the reader.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import requests
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

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
