"""One file from one server over HTTP, going on where an earlier attempt ended.

requests speaks HTTP; own code is what it lacks: going on inside a file, a limit for a stalled
transfer, a cap on the bytes, and no way from https down to http.
"""

import os
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Protocol

import requests
import urllib3

from alexnet_cli.data.part import Part
from alexnet_cli.data.session import (
    Session,
    TransferError,
    in_words,
    require_content,
    validator,
    without_password,
)
from alexnet_cli.data.stall import Watch, watched
from alexnet_cli.files import writing_error

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
