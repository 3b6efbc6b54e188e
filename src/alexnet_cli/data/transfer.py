"""One file from one server over HTTP, continued where an earlier attempt ended.

requests speaks HTTP. Added here: a partial download that the next attempt continues, retries, and a
limit on the bytes.
"""

import json
import os
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import requests
import urllib3

from alexnet_cli.data.http_session import (
    Session,
    TransferError,
    Watch,
    require_content,
    to_transfer_error,
    validator,
    watched,
    without_password,
)
from alexnet_cli.files import atomic_write, writing_error


@dataclass(frozen=True)
class PartialDownload:
    """A partial download, and the version of the file that its bytes are of.

    Attributes:
        path: The file; beside it lies a JSON file with the address and the server's name for the
            version (an ETag, or the time of the last change).
    """

    path: Path

    @property
    def num_bytes(self) -> int:
        """Its size; 0 without a file."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def validator(self, url: str) -> str | None:
        """Return the version of the bytes at this address, if known."""
        try:
            known = json.loads(self._version_path.read_text())
            return str(known["validator"]) if known["url"] == url else None
        except (OSError, ValueError, KeyError, TypeError):
            return None  # the hash decides in the end; this only saves bytes

    def begin(self, url: str, validator: str | None) -> None:
        """Discard the bytes and begin with another version."""
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
    """A progress bar."""

    total: int

    def start_at(self, num_bytes: int) -> None:
        """Begin with the bytes of an earlier attempt."""

    def update(self, num_bytes: int) -> None:
        """Add bytes."""

    def close(self) -> None:
        """Finish."""


@dataclass(frozen=True)
class RetryPolicy:
    """Timeouts and retries.

    Attributes:
        connect_seconds: For a connection.
        read_seconds: For the next byte.
        stall_seconds: Window in which at least a kibibyte a second must arrive.
        attempts: Most attempts in a row without a mebibyte of progress.
        backoff_seconds: Wait before the second attempt; doubled before each further one.
        longest_wait_seconds: Longest Retry-After that is accepted.
    """

    connect_seconds: float = 10.0
    read_seconds: float = 30.0
    stall_seconds: float = 60.0
    attempts: int = 4
    backoff_seconds: float = 1.0
    longest_wait_seconds: float = 120.0


@dataclass
class Transfer:
    """Bytes of a download.

    Attributes:
        resumed_bytes: Of an earlier attempt's bytes, those that were kept.
        fetched_bytes: Received now, those that were thrown away included.
    """

    resumed_bytes: int = 0
    fetched_bytes: int = 0


class SharedPartError(Exception):
    """Another process writes to the same partial download, in spite of the lock."""


class Fetcher:
    """Downloads a file, or the missing rest of it.

    Args:
        part: The partial download; its bytes are kept if the server allows it.
        num_bytes: The size of the file, if known.
        patience: Timeouts and retries.
        progress: Progress bar.
        say: Called with the reason of each retry.
    """

    def __init__(
        self,
        part: PartialDownload,
        *,
        num_bytes: int | None,
        patience: RetryPolicy,
        progress: ProgressBar,
        say: Callable[[str], None],
    ) -> None:
        self.part, self._num_bytes, self._patience = part, num_bytes, patience
        self._progress, self._say = progress, say
        self.transfer = Transfer()
        self.is_pieced = False  # of several answers, which may be of different versions

    def fetch(self, url: str) -> None:
        """Download what is missing.

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
        """Wait before a retry, or raise."""
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
        """Make one request and receive its response."""
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
                raise _stalled_or(to_transfer_error(error), watch) from error
            except TransferError as error:
                raise _stalled_or(error, watch) from error

    def _take(self, response: requests.Response, url: str, offset: int, watch: Watch) -> None:
        """Receive a response, if it continues at the offset or starts anew."""
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
        """Count the bytes that are not downloaded again."""
        self.is_pieced = num_bytes > 0
        if not (num_bytes and self.transfer.fetched_bytes):
            self.transfer.resumed_bytes = num_bytes
        self._progress.start_at(num_bytes)

    def _goes_on(self, response: requests.Response, offset: int) -> bool:
        """Return whether a response continues at the offset; False: it starts at the beginning.

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
        """Append the body to the partial download."""
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
    """Refuse to continue if another process writes to the same file, or has deleted it.

    Raises:
        SharedPartError: It does.
    """
    found = os.fstat(file.fileno())
    if found.st_size != num_bytes or not found.st_nlink:
        raise SharedPartError


def _stalled_or(error: TransferError, watch: Watch) -> TransferError:
    """Return the error of an attempt: a connection closed by the watch fails in many ways."""
    return TransferError("the transfer stalled", temporary=True) if watch.has_stalled else error
