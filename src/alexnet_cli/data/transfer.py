"""One file from one server over HTTP, going on where an earlier attempt ended.

requests speaks HTTP; own code is what it lacks: going on inside a file, a limit for a stalled
transfer, a cap on the bytes, and no way from https down to http.
"""

import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import requests
import urllib3

from alexnet_cli.data.part import Part
from alexnet_cli.data.session import Session, TransferError, in_words, require_content, validator
from alexnet_cli.files import writing_error

_CHUNK_BYTES = 1 << 18
_LEAST_BYTES_PER_SECOND = 1024  # less than this over a whole window is a stalled transfer
_PROGRESS_BYTES = 1 << 20  # an attempt that brought so much does not count against the server
_LARGEST_BYTES = 1 << 30  # cap where the size is not known
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
        stall_seconds: Window in which at least `_LEAST_BYTES_PER_SECOND` must arrive.
        attempts: In a row, none of which brings a mebibyte.
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
        self._part, self._num_bytes, self._patience = part, num_bytes, patience
        self._progress, self._say = progress, say
        self.transfer = Transfer()

    def fetch(self, url: str) -> None:
        """Fetch what is missing.

        Raises:
            TransferError: The server did not send it, or sent something else.
            AlexnetError: The part cannot be written.
        """
        if self._num_bytes and self._part.num_bytes > self._num_bytes:
            self._part.remove()
        if self._num_bytes and self._part.num_bytes == self._num_bytes:
            self._keep(self._num_bytes)
            return
        failures = 0
        with Session() as session:
            while True:
                received_before = self.transfer.fetched_bytes
                try:
                    self._attempt(session, url)
                except TransferError as error:
                    gained = self.transfer.fetched_bytes - received_before
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
        offset, headers = self._part.num_bytes, {}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if (version := self._part.validator(url)) is not None:
                headers["If-Range"] = version
        timeouts = (self._patience.connect_seconds, self._patience.read_seconds)
        try:
            with session.get(url, headers=headers, timeout=timeouts, stream=True) as response:
                if offset and response.status_code == _NOTHING_THERE:
                    self._keep(offset)
                    return  # nothing is missing; the hash will tell whether that is so
                if not self._goes_on(response, offset):
                    self._part.begin(url, validator(response))
                    offset = 0
                if (length := response.headers.get("Content-Length", "")).isdecimal():
                    self._progress.total = offset + int(length)
                self._keep(offset)
                self._receive(response, offset)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise in_words(error) from error

    def _keep(self, num_bytes: int) -> None:
        """Note how much of what was there is not fetched again."""
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
            found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
            if found and int(found[1]) == offset and (not size or found[2] in ("*", str(size))):
                return True
            self._part.remove()  # its ranges cannot be used; the whole file may be right
            raise TransferError("the server sent another range than it was asked", temporary=True)
        length = headers.get("Content-Length", "")
        if size and length.isdecimal() and int(length) != size:
            raise TransferError(f"the server has {int(length):,} bytes in place of {size:,}")
        return False

    def _receive(self, response: requests.Response, have: int) -> None:
        """Write the body behind the bytes that are there."""
        largest, stall = self._num_bytes or _LARGEST_BYTES, _StallClock(self._patience)
        try:
            with self._part.path.open("ab") as file:
                # Not decoded: servers call a .tar.gz "gzip" though it is what was published.
                while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=False):
                    self.transfer.fetched_bytes += len(chunk)
                    have += len(chunk)
                    if have > largest:
                        self._part.remove()
                        raise TransferError(f"the server sends more than {largest:,} bytes")
                    file.write(chunk)
                    self._progress.update(len(chunk))
                    stall.count(len(chunk))
        except OSError as error:  # urllib3's errors are none
            raise writing_error(self._part.path, error) from error
        finally:
            if not self._part.num_bytes:
                self._part.remove()
        if self._num_bytes and have < self._num_bytes:
            raise TransferError(
                f"the connection broke off after {have:,} of {self._num_bytes:,} bytes",
                temporary=True,
            )


class _StallClock:
    """Ends a transfer that brings next to nothing, which no read timeout notices."""

    def __init__(self, patience: Patience) -> None:
        self._window_seconds = patience.stall_seconds
        self._start, self._num_bytes = time.monotonic(), 0

    def count(self, num_bytes: int) -> None:
        """Count bytes.

        Raises:
            TransferError: Too few arrived in the last window.
        """
        self._num_bytes += num_bytes
        elapsed = time.monotonic() - self._start
        if elapsed >= self._window_seconds:
            if self._num_bytes < _LEAST_BYTES_PER_SECOND * elapsed:
                raise TransferError("the transfer stalled", temporary=True)
            self._start, self._num_bytes = time.monotonic(), 0
