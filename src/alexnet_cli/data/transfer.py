"""One file from one server over HTTP, continued where an earlier attempt stopped.

requests speaks HTTP. Added here: a partial download that the next attempt continues, retries, and
limits on redirects, on the number of bytes and on how slowly they may arrive.
"""

import json
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.utils import get_auth_from_url, get_netrc_auth

from alexnet_cli import __version__
from alexnet_cli.console import ByteProgress, hide_secrets
from alexnet_cli.files import atomic_write, writing_error

_CHUNK_BYTES = 1 << 18
_PROGRESS_BYTES = 1 << 20  # an attempt that gained this much does not count against the server
_MAX_BYTES = 1 << 30  # where the size is not known
_MIN_BYTES_PER_SECOND = 1024  # a slower transfer has stalled
_MAX_REDIRECTS = 5
_TEMPORARY = frozenset({408, 429, 500, 502, 503, 504})
_NUMBER = "[0-9]{1,18}"  # of which Python makes an integer whatever a server sends
_CONTENT_RANGE = rf"bytes ({_NUMBER})-{_NUMBER}/({_NUMBER}|\*)"


@dataclass(frozen=True)
class RetryPolicy:
    connect_seconds: float = 10.0
    read_seconds: float = 30.0  # for the next byte
    stall_seconds: float = 60.0  # window in which `_MIN_BYTES_PER_SECOND` must arrive
    attempts: int = 4  # in a row without `_PROGRESS_BYTES`
    backoff_seconds: float = 1.0  # before the second attempt; doubled before each further one
    longest_wait_seconds: float = 120.0  # longest Retry-After that is accepted


@dataclass
class Transfer:
    """Bytes of a download."""

    resumed_bytes: int = 0  # of an earlier download, those that were kept
    fetched_bytes: int = 0  # received now, including those that were discarded


class TransferError(Exception):
    """A server did not send the file."""

    def __init__(
        self, reason: str, *, temporary: bool = False, wait_seconds: float | None = None
    ) -> None:
        super().__init__(reason)
        self.temporary = temporary  # a retry may succeed
        self.wait_seconds = wait_seconds  # before it, as the server asks


@dataclass(frozen=True)
class PartialDownload:
    """The bytes received so far, and in a JSON file the version (for If-Range) they belong to."""

    path: Path

    @property
    def num_bytes(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def _version_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    def version(self, url: str) -> str | None:
        try:
            known = json.loads(self._version_path.read_text(encoding="utf-8"))
            return str(known["validator"]) if known["url"] == url else None
        except (OSError, ValueError, KeyError, TypeError):
            return None  # the hash decides in the end; this only saves bytes

    def restart(self, url: str, version: str | None) -> None:
        """Discard the bytes and begin with another version."""
        self.remove()
        if version is not None:
            document = json.dumps({"url": url, "validator": version})
            atomic_write(self._version_path, document.encode())

    def remove(self) -> None:
        for path in (self.path, self._version_path):
            path.unlink(missing_ok=True)


class Fetcher:
    """The download of a file, or of the missing rest of it."""

    def __init__(
        self,
        part: PartialDownload,  # its bytes are kept if the server allows it
        num_bytes: int | None,  # of the file, if known
        *,
        retry: RetryPolicy,
        progress: ByteProgress,
        notify: Callable[[str], None],  # called with the reason of each retry
    ) -> None:
        self.part, self._num_bytes, self._retry = part, num_bytes, retry
        self._progress, self.notify = progress, notify
        self.transfer = Transfer()
        self.is_joined = False  # from several responses, which may be of different versions

    def fetch(self, url: str) -> None:
        """Download what is missing.

        Raises:
            TransferError: The server did not send it, or sent something else.
            AlexnetError: The partial download cannot be written.
        """
        if self._num_bytes and self.part.num_bytes > self._num_bytes:
            self.part.remove()
        if self._num_bytes and self.part.num_bytes == self._num_bytes:
            self._start_at(self._num_bytes)
            return
        failures, farthest = 0, self.part.num_bytes
        with _Session() as session:
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
        if not error.temporary or failures >= self._retry.attempts:
            raise error
        seconds = error.wait_seconds
        if seconds is None:
            seconds = self._retry.backoff_seconds * 2.0 ** (failures - 1)
            seconds *= random.uniform(0.5, 1.5)  # noqa: S311 - so that many do not return at once
        if seconds > self._retry.longest_wait_seconds:
            raise error
        self.notify(f"{error}; trying again in {seconds:.0f} s")
        time.sleep(seconds)

    def _attempt(self, session: requests.Session, url: str) -> None:
        address, offset, headers = hide_secrets(url), self.part.num_bytes, {}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if (version := self.part.version(address)) is not None:
                headers["If-Range"] = version
        timeouts = (self._retry.connect_seconds, self._retry.read_seconds)
        try:
            with session.get(url, headers=headers, timeout=timeouts, stream=True) as response:
                if offset and response.status_code == requests.codes.range_not_satisfiable:
                    self._start_at(offset)
                    return  # nothing is missing; the hash decides whether that is true
                if not self._continues(response, offset):
                    self.part.restart(address, _version_of(response))
                    offset = 0
                length = response.headers.get("Content-Length", "")
                if re.fullmatch(_NUMBER, length):
                    self._progress.total = offset + int(length)
                self._start_at(offset)
                self._receive(response, offset)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _to_transfer_error(error) from error

    def _continues(self, response: requests.Response, offset: int) -> bool:
        """Return whether a response continues at the offset; if not, it starts at the beginning.

        Raises:
            TransferError: It does neither.
        """
        _require_content(response)
        headers, size = response.headers, self._num_bytes
        if response.status_code == requests.codes.partial_content:
            found = re.fullmatch(_CONTENT_RANGE, headers.get("Content-Range", ""))
            if found and int(found[1]) == offset and (not size or found[2] in ("*", str(size))):
                return True
            self.part.remove()  # its ranges cannot be used; the entire file may be right
            raise TransferError("the server sent another range than it was asked", temporary=True)
        length = headers.get("Content-Length", "")
        if size and re.fullmatch(_NUMBER, length) and int(length) != size:
            raise TransferError(f"the server has {int(length):,} bytes in place of {size:,}")
        return False

    def _start_at(self, num_bytes: int) -> None:
        """Count the bytes that are not downloaded again."""
        self.is_joined = num_bytes > 0
        if not (num_bytes and self.transfer.fetched_bytes):
            self.transfer.resumed_bytes = num_bytes
        self._progress.start_at(num_bytes)

    def _receive(self, response: requests.Response, have: int) -> None:
        """Append the body to the partial download, which has some bytes already."""
        limit = self._num_bytes or _MAX_BYTES
        try:
            with self.part.path.open("ab") as file:
                for chunk in self._chunks(response):
                    have += len(chunk)
                    self.transfer.fetched_bytes += len(chunk)
                    if have > limit:
                        self.part.remove()
                        raise TransferError(f"the server sends more than {limit:,} bytes")
                    file.write(chunk)
                    file.flush()
                    self._progress.update(len(chunk))
        except OSError as error:  # not of the network: urllib3's errors are none
            raise writing_error(self.part.path, error) from error
        finally:
            if not self.part.num_bytes:
                self.part.remove()
        if not (have or self._num_bytes):
            raise TransferError("the server sent an empty file")
        if self._num_bytes and have < self._num_bytes:
            raise TransferError(
                f"the connection broke off after {have:,} of {self._num_bytes:,} bytes",
                temporary=True,
            )

    def _chunks(self, response: requests.Response) -> Iterator[bytes]:
        """Yield the body as it arrives, unless it arrives too slowly."""
        num_bytes, start = 0, time.monotonic()
        # Not decoded: servers call a .tar.gz "gzip" though it is what was published.
        while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=False):
            yield chunk
            num_bytes += len(chunk)
            seconds = time.monotonic() - start
            if seconds >= self._retry.stall_seconds:
                if num_bytes < _MIN_BYTES_PER_SECOND * seconds:
                    raise TransferError("the transfer stalled", temporary=True)
                num_bytes, start = 0, time.monotonic()


class _Credentials(requests.auth.AuthBase):
    """Those in the address; else those of `.netrc`, over https alone."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        url = str(request.url)
        pair = get_auth_from_url(url)
        if not any(pair) and url.startswith("https:"):
            pair = get_netrc_auth(url) or pair
        return requests.auth.HTTPBasicAuth(*pair)(request) if any(pair) else request


class _Session(requests.Session):
    """A session that follows few redirects, and none from https to http."""

    def __init__(self) -> None:
        super().__init__()
        self.max_redirects = _MAX_REDIRECTS
        self.auth = _Credentials()
        self.headers["Accept-Encoding"] = "identity"
        self.headers["User-Agent"] = f"alexnet/{__version__}"

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target is None:
            return None
        resp.close()  # requests would read the body, which may have no end
        try:
            schemes = [urlsplit(url).scheme for url in (resp.url, urljoin(resp.url, target))]
        except ValueError as error:
            raise TransferError(_INVALID_URL) from error
        if schemes == ["https", "http"]:
            raise TransferError(
                "it redirects from https to http, which anybody could read and change"
            )
        return target

    def rebuild_auth(
        self, prepared_request: requests.PreparedRequest, response: requests.Response
    ) -> None:
        """Keep credentials from another host; requests would look into `.netrc` for it."""
        target = str(prepared_request.url)
        if self.should_strip_auth(str(response.request.url), target):
            prepared_request.headers.pop("Authorization", None)


def _require_content(response: requests.Response) -> None:
    """Refuse a response that does not hold a file."""
    status, headers = response.status_code, response.headers
    if status in _TEMPORARY:
        wait = _retry_after(headers.get("Retry-After"))
        raise TransferError(f"the server answered {status}", temporary=True, wait_seconds=wait)
    if status not in (requests.codes.ok, requests.codes.partial_content):
        raise TransferError(f"the server answered {status}")
    if "html" in headers.get("Content-Type", ""):
        raise TransferError("the server sent a web page")


def _retry_after(value: str | None) -> float | None:
    try:
        return urllib3.Retry().parse_retry_after(value) if value else None
    except (urllib3.exceptions.InvalidHeader, ValueError, OverflowError):  # or absurdly large
        return None


def _version_of(response: requests.Response) -> str | None:
    """Return the version for If-Range: a strong ETag, else the time of the last change."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


_INVALID_URL = "the address is not valid"
_PERMANENT = (
    (requests.exceptions.TooManyRedirects, f"more than {_MAX_REDIRECTS} redirects"),
    (requests.exceptions.SSLError, "its certificate is not trusted"),
    (requests.exceptions.InvalidSchema, "only http and https addresses can be fetched"),
    (ValueError, _INVALID_URL),  # requests' InvalidURL and MissingSchema
)


def _to_transfer_error(error: Exception) -> TransferError:
    for kind, reason in _PERMANENT:
        if isinstance(error, kind):
            return TransferError(reason)
    if isinstance(error, requests.exceptions.Timeout | urllib3.exceptions.TimeoutError):
        return TransferError("the server did not answer in time", temporary=True)
    if isinstance(error, requests.exceptions.ChunkedEncodingError | urllib3.exceptions.HTTPError):
        return TransferError("the connection broke off", temporary=True)
    return TransferError("no connection to the server", temporary=True)
