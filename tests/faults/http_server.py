"""A real HTTP server on the loopback that is as right or as wrong as the path says.

`/BEHAVIOUR/NAME` returns the one file of the server in that manner; NAME may be anything, and what
is sent is counted by it. The behaviours are in `http_behaviours`.
"""

import contextlib
import fcntl
import functools
import http.server
import socket
import ssl
import struct
import termios
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any

import trustme

_PIECE_BYTES = 1 << 16


@dataclass(frozen=True)
class Version:
    """A content of the file."""

    content: bytes
    validators: Mapping[str, str]  # `ETag` and `Last-Modified`, both, either or none

    def is_meant_by(self, condition: str | None) -> bool:
        """Return whether an `If-Range` allows a range of this version."""
        if condition is None:
            return True
        return not condition.startswith("W/") and condition in self.validators.values()


def version_of(content: bytes, number: int) -> Version:
    date = formatdate(1_700_000_000 + number, usegmt=True)
    return Version(content, {"ETag": f'"v{number}"', "Last-Modified": date})


@dataclass(frozen=True)
class Request:
    path: str
    headers: Mapping[str, str]


@dataclass
class Ledger:
    """Requests and responses by the last part of the path; shared by the servers of a test."""

    requests: dict[str, list[Request]] = field(default_factory=lambda: defaultdict(list))
    body_bytes: Counter[str] = field(default_factory=Counter)  # handed to the kernel
    # Cut the next response after that many bytes of a version, to leave a partial download.
    broken_off: dict[str, tuple[Version, int]] = field(default_factory=dict)
    released: threading.Event = field(default_factory=threading.Event)  # cleared to hold responses

    def __post_init__(self) -> None:
        self.released.set()

    def forget(self, name: str) -> None:
        self.requests.pop(name, None)
        self.body_bytes.pop(name, None)


class FaultServer(http.server.ThreadingHTTPServer):
    """Serves one file."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(
        self,
        content: bytes,
        behaviours: Mapping[str, Callable[["Answer"], None]],
        ledger: Ledger,
        *,
        tls: ssl.SSLContext | None = None,
        plain_url: str = "",  # of the server without TLS beside this one, for redirects
    ) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.behaviours = behaviours
        self.right = version_of(content, 1)
        self.other = version_of(content.translate(bytes(range(255, -1, -1))), 2)
        self.ledger = ledger
        self.stopping = threading.Event()  # set at the end, so that endless responses end too
        self.url = f"http://127.0.0.1:{self.server_port}"
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
            self.url = f"https://localhost:{self.server_port}"
        self.plain_url = plain_url or self.url

    def handle_error(self, *_arguments: Any) -> None:
        """Log nothing: clients that go away are expected."""

    @contextlib.contextmanager
    def running(self) -> Iterator["FaultServer"]:
        thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self.stopping.set()
            self.ledger.released.set()
            self.shutdown()
            thread.join()
            self.server_close()


class Answer(http.server.BaseHTTPRequestHandler):
    """One request, and what behaviours are made of."""

    protocol_version = "HTTP/1.1"
    server: FaultServer
    name: str  # last part of the path
    number: int  # of requests of that name before this one

    def do_GET(self) -> None:
        self.close_connection = True
        behaviour, self.name = self.path.strip("/").split("/", 1)
        ledger = self.server.ledger
        requests = ledger.requests[self.name]
        self.number = len(requests)
        requests.append(Request(self.path, dict(self.headers)))
        with contextlib.suppress(OSError):  # the client is gone
            if self.name in ledger.broken_off:
                version, num_bytes = ledger.broken_off.pop(self.name)
                self.send_version(version, num_bytes=num_bytes)
            else:
                self.server.behaviours[behaviour](self)

    @property
    def right(self) -> Version:
        return self.server.right

    @property
    def other(self) -> Version:
        return self.server.other

    @property
    def total(self) -> int:
        return len(self.right.content)

    @property
    def third(self) -> int:
        return self.total // 3 + 1

    @property
    def start(self) -> int | None:
        """First byte requested, if it is a request for a range."""
        asked = self.headers["Range"]
        return None if asked is None else int(asked.removeprefix("bytes=").split("-")[0])

    def send_head(self, status: int, headers: Mapping[str, object]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Connection": "close"}.items():
            self.send_header(name, str(value))
        self.end_headers()

    def send_body(self, body: bytes) -> None:
        for begin in range(0, len(body), _PIECE_BYTES):
            self.send_piece(body[begin : begin + _PIECE_BYTES])

    def send_piece(self, piece: bytes, *, chunked: bool = False) -> None:
        if self.server.stopping.is_set():
            raise ConnectionAbortedError
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        self.server.ledger.body_bytes[self.name] += len(piece)

    def send_text(self, status: int, text: str, more: Mapping[str, object] | None = None) -> None:
        """Send a short page, whose bytes are not counted."""
        body = text.encode()
        length = {"Content-Type": "text/plain", "Content-Length": len(body)}
        self.send_head(status, length | dict(more or {}))
        self.wfile.write(body)

    def content_range(self, total: int | str) -> dict[str, str]:
        return {"Content-Range": f"bytes {self.start}-{self.total - 1}/{total}"}

    def send_416(self) -> None:
        self.send_text(416, "", {"Content-Range": f"bytes */{self.total}"})

    def begin_version(
        self,
        version: Version,
        *,
        ranges: bool = True,
        changes: Mapping[str, object | None] | None = None,  # None leaves a header out
    ) -> bytes:
        """Send the right head for a version, and return the body that belongs to it."""
        start = self.start if ranges and version.is_meant_by(self.headers["If-Range"]) else None
        total = len(version.content)
        if start is not None and start >= total:
            self.send_416()
            return b""
        body = version.content[start or 0 :]
        headers: dict[str, object] = {
            "Content-Type": "application/gzip",
            "Content-Length": len(body),
            **({"Accept-Ranges": "bytes"} if ranges else {}),
            **version.validators,
        }
        if start is not None:
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        headers |= dict(changes or {})
        kept = {name: value for name, value in headers.items() if value is not None}
        self.send_head(200 if start is None else 206, kept)
        return body

    def send_version(
        self, version: Version, *, ranges: bool = True, num_bytes: int | None = None
    ) -> None:
        """Respond correctly, or break off after some bytes of the body."""
        self.send_body(self.begin_version(version, ranges=ranges)[:num_bytes])

    def send_right(self, changes: Mapping[str, object | None] | None = None) -> None:
        """Respond correctly except for some headers."""
        self.send_body(self.begin_version(self.right, changes=changes))

    def wait(self, seconds: float) -> None:
        if self.server.stopping.wait(seconds):
            raise ConnectionAbortedError

    def send_rst(self) -> None:
        """End the connection with RST, once the client has received what was sent."""
        deadline = time.monotonic() + 5
        while _unsent_bytes(self.connection.fileno()) and time.monotonic() < deadline:
            time.sleep(0.001)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, *_arguments: Any) -> None:
        pass


def _unsent_bytes(descriptor: int) -> int:
    count = fcntl.ioctl(descriptor, termios.TIOCOUTQ, struct.pack("i", 0))
    return int(struct.unpack("i", count)[0])


@dataclass(frozen=True)
class Servers:
    plain: FaultServer
    secure: FaultServer  # with a certificate for `localhost`
    authority: Path  # for `REQUESTS_CA_BUNDLE`, so that clients trust the certificate
    ledger: Ledger


@functools.cache
def _authority_and_certificate() -> tuple[trustme.CA, trustme.LeafCert]:
    """Make keys once: they take longer than a download."""
    authority = trustme.CA()
    return authority, authority.issue_cert("localhost")


@contextlib.contextmanager
def serve(
    content: bytes, behaviours: Mapping[str, Callable[[Answer], None]], folder: Path
) -> Iterator[Servers]:
    """Run both servers of one file, with their certificate in a folder."""
    authority, certificate = _authority_and_certificate()
    bundle = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(bundle))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(tls)
    ledger = Ledger()
    with (
        FaultServer(content, behaviours, ledger).running() as plain,
        FaultServer(content, behaviours, ledger, tls=tls, plain_url=plain.url).running() as secure,
    ):
        yield Servers(plain, secure, bundle, ledger)
