"""Every behaviour of the server against every state a download can begin in.

`python -m tests.faults.http_table` prints what comes of each as Markdown, with `--json` as JSON.
"""

import argparse
import contextlib
import hashlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from itertools import product
from pathlib import Path
from unittest import mock

import numpy as np

from alexnet_cli.data.cache import PublishedFile
from alexnet_cli.data.fetch import FetchOptions, download
from alexnet_cli.data.transfer import RetryPolicy
from alexnet_cli.errors import DownloadError
from tests.faults.fetch_once import Silence
from tests.faults.http_behaviours import BEHAVIOURS, OVER_TLS, as_told_by
from tests.faults.http_server import Servers, serve

CONTENT = np.random.default_rng(0).bytes(3_300_007)  # a third of it is more than a mebibyte
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF_BYTES = len(CONTENT) // 2
SHORT = RetryPolicy(
    connect_seconds=5, read_seconds=1, stall_seconds=1.5, attempts=3, backoff_seconds=0.01,
    longest_wait_seconds=5,
)  # fmt: skip
_TIMED = frozenset({"silent", "silent-midway", "drip", "drip-header", "drip-chunk-head"})
# What does not wait for a silent server must not fail on a busy machine.
LONG = replace(SHORT, read_seconds=20, stall_seconds=20)
_TOO_MANY_BYTES = 1_000
_THREADS = 32
_LONGEST_SECONDS = 100


class State(StrEnum):
    """What is there of the file before the download."""

    COLD = "nothing"
    HALF = "half"
    WHOLE = "all"
    OVERSIZE = "too much"
    OTHER = "half of another version"


class Outcome(StrEnum):
    """What a download came to."""

    RIGHT = "right"
    REFUSED = "refused"
    WRONG = "WRONG FILE"
    TRACEBACK = "TRACEBACK"
    HANGS = "HANGS"


@dataclass(frozen=True)
class Cell:
    """One download.

    Attributes:
        behaviour: Of the server.
        state: What was there before.
        outcome: What came of it.
        cause: The reason that was given for a refusal.
        sent_bytes: Bytes of bodies that the server sent.
        fetched_bytes: Bytes received, as the program tells after a success.
        num_requests: Requests made.
        seconds: From begin to end.
        part_bytes: What is kept for the next attempt.
        strays: Other files that are left, but for the lock.
    """

    behaviour: str
    state: State
    outcome: Outcome
    cause: str
    sent_bytes: int
    fetched_bytes: int | None
    num_requests: int
    seconds: float
    part_bytes: int
    strays: list[str]


def file_at(servers: Servers, behaviour: str, name: str) -> PublishedFile:
    """Return the file as a server of that behaviour publishes it."""
    server = servers.secure if behaviour in OVER_TLS else servers.plain
    url = f"{server.url}/{behaviour}/{name}"
    return PublishedFile("cifar10", name, url, len(CONTENT), SHA256)


def prepare(servers: Servers, file: PublishedFile, behaviour: str, state: State) -> None:
    """Bring a state about: by a download that breaks off, and bytes behind what it left."""
    if state is State.COLD:
        return
    server = servers.plain
    version = as_told_by(behaviour, server.other if state is State.OTHER else server.right)
    servers.ledger.broken_off[file.name] = (version, HALF_BYTES)
    with contextlib.suppress(DownloadError):
        download(file, FetchOptions(patience=RetryPolicy(attempts=1)), progress=Silence())
    assert file.part_path.stat().st_size == HALF_BYTES
    if state in (State.WHOLE, State.OVERSIZE):
        with file.part_path.open("ab") as part:
            part.write(CONTENT[HALF_BYTES:])
            part.write(b"\0" * (_TOO_MANY_BYTES if state is State.OVERSIZE else 0))
    servers.ledger.forget(file.name)


def fill(servers: Servers, behaviour: str, state: State) -> Cell:
    """Make one download and tell what came of it."""
    name = f"{behaviour}.{state.name.lower()}.bin"
    file = file_at(servers, behaviour, name)
    prepare(servers, file, behaviour, state)
    begin = time.monotonic()
    outcome, cause, fetched = _download(file, SHORT if behaviour in _TIMED else LONG)
    seconds = time.monotonic() - begin
    found = file.path.read_bytes() if file.path.exists() else None
    if outcome is not Outcome.HANGS and found != (CONTENT if outcome is Outcome.RIGHT else None):
        outcome = Outcome.WRONG
    part = file.part_path.stat().st_size if file.part_path.exists() else 0
    return Cell(
        behaviour, state, outcome, cause, servers.ledger.body_bytes[name], fetched,
        len(servers.ledger.requests[name]), round(seconds, 2), part, _strays(file),
    )  # fmt: skip


def _strays(file: PublishedFile) -> list[str]:
    """Return what is left beside the file and what an unfinished download needs."""
    expected = {file.path.name, f"{file.path.name}.lock"}
    if file.part_path.exists():
        expected |= {file.part_path.name, f"{file.part_path.name}.json"}
    names = {
        path.name
        for path in file.path.parent.iterdir()
        if path.name.lstrip(".").startswith(file.path.name)
    }
    return sorted(names - expected)


def _download(file: PublishedFile, patience: RetryPolicy) -> tuple[Outcome, str, int | None]:
    """Return the outcome, the reason of a refusal, and the bytes fetched."""
    results: list[tuple[Outcome, str, int | None]] = []

    def work() -> None:
        try:
            transfer = download(file, FetchOptions(patience=patience), progress=Silence())
        except DownloadError as error:
            results.append((Outcome.REFUSED, _cause_of(error, file.url), None))
        except Exception as error:  # the table has to say so
            results.append((Outcome.TRACEBACK, repr(error), None))
        else:
            results.append((Outcome.RIGHT, "", transfer.fetched_bytes))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(_LONGEST_SECONDS)
    return results[0] if results else (Outcome.HANGS, "", None)


def _cause_of(error: DownloadError, url: str) -> str:
    return error.message.partition(f"{url}: ")[2].removesuffix(")") or error.message


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Servers]:
    """Run the servers, with the cache and the certificate in a folder, and trust them."""
    with serve(CONTENT, BEHAVIOURS, folder) as servers:
        trusted = {"REQUESTS_CA_BUNDLE": str(servers.authority)}
        with mock.patch.dict(os.environ, trusted | {"ALEXNET_HOME": str(folder / "cache")}):
            yield servers


def fill_table(folder: Path, behaviours: list[str]) -> list[Cell]:
    """Make all downloads, many at a time: most of them wait."""
    with serving(folder) as servers, ThreadPoolExecutor(_THREADS) as pool:
        pairs = product(behaviours, State)
        return list(pool.map(lambda pair: fill(servers, *pair), pairs))


def as_markdown(cells: list[Cell]) -> str:
    """Return the table; bytes are in percent of the file."""
    lines = [
        f"| the server | {' | '.join(State)} | reason |",
        "|" + " --- |" * (len(State) + 2),
    ]
    for behaviour in dict.fromkeys(cell.behaviour for cell in cells):
        row = {cell.state: cell for cell in cells if cell.behaviour == behaviour}
        what = (BEHAVIOURS[behaviour].__doc__ or "").splitlines()[0].rstrip(".")
        cause = next((cell.cause for cell in row.values() if cell.cause), "")
        texts = [_in_short(row[state]) for state in State]
        lines.append(f"| **{behaviour}**: {what} | {' | '.join(texts)} | {cause} |")
    return "\n".join(lines)


def _in_short(cell: Cell) -> str:
    if cell.fetched_bytes is not None:
        return f"{cell.outcome}, {100 * cell.fetched_bytes / len(CONTENT):.0f} %"
    kept = f", {100 * cell.part_bytes / len(CONTENT):.0f} % kept" if cell.part_bytes else ""
    return f"{cell.outcome}{kept}"


def main() -> None:
    """Fill the table and print it."""
    parser = argparse.ArgumentParser(description="Download from a server with faults.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--only", choices=BEHAVIOURS, action="append", help="this behaviour")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        cells = fill_table(Path(name), given.only or list(BEHAVIOURS))
    if given.json:
        text = json.dumps([asdict(cell) for cell in cells], indent=1)
    else:
        text = as_markdown(cells)
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
