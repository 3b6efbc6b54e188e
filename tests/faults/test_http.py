"""Downloads from servers that are wrong, slow or gone, and by processes that are killed."""

import contextlib
import hashlib
import json
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

import numpy as np
import pytest

from alexnet_cli.console import ByteProgress
from alexnet_cli.data.cache import PublishedFile
from alexnet_cli.data.fetch import FetchOptions, download
from alexnet_cli.data.transfer import RetryPolicy, Transfer
from alexnet_cli.errors import DownloadError
from tests.faults.conftest import wait_until
from tests.faults.http_behaviours import BEHAVIOURS, OVER_TLS, as_seen_from
from tests.faults.http_server import serve

# requests leaves a socket to the collector where a server breaks the rules
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning")

CONTENT = np.random.default_rng(0).bytes(3_300_007)  # a third of it is more than a mebibyte
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF_BYTES = len(CONTENT) // 2
LONG = RetryPolicy(
    connect_seconds=5, read_seconds=20, stall_seconds=20, attempts=3, backoff_seconds=0.01,
    longest_wait_seconds=5,
)  # fmt: skip
SHORT = replace(LONG, read_seconds=1, stall_seconds=1.5)
_TIMED = frozenset({"silent", "silent-midway", "drip"})  # others must not fail on a busy machine

# The expected outcome for each state the download can begin in. The right file in place, with
#   none  nothing fetched
#   rest  only what was missing
#   all   the whole file
#   more  bytes that were discarded in between, but no more than twice the file
# or an error and no file, with
#   kept  what was there kept for the next attempt
#   no    nothing, or anything, kept: the hash decides next time
_EXPECTED = """
    server                  cold  half  whole over  other
    right                   all   rest  none  all   all
    tls                     all   rest  none  all   all
    date-only               all   rest  none  all   all
    weak-etag               all   rest  none  all   more
    no-etag                 all   rest  none  all   more
    mislabelled             all   rest  none  all   all
    no-length               all   rest  none  all   all
    chunked                 all   rest  none  all   all
    held                    all   rest  none  all   all
    redirect                all   rest  none  all   all
    short-body              all   rest  none  all   all
    truncated               no    no    none  no    no
    reset                   all   rest  none  all   all
    reset-without-ranges    no    no    none  no    no
    reset-at-once           no    kept  none  no    kept
    silent                  no    kept  none  no    kept
    silent-midway           all   rest  none  all   all
    drip                    no    no    none  no    no
    wrong-206-offset        all   all   none  all   all
    lying-206               all   more  none  all   all
    wrong-206-total         all   all   none  all   all
    unknown-206-total       all   rest  none  all   all
    no-content-range        all   all   none  all   all
    ignores-range           all   all   none  all   all
    ignores-if-range        all   rest  none  all   more
    status-416              all   all   none  all   all
    status-429-once         all   rest  none  all   all
    status-429              no    kept  none  no    kept
    status-503-once         all   rest  none  all   all
    status-503              no    kept  none  no    kept
    status-503-for-a-day    no    kept  none  no    kept
    status-503-nonsense     all   rest  none  all   all
    status-404              no    kept  none  no    kept
    status-503-for-aeons    no    kept  none  no    kept
    status-500-once         all   rest  none  all   all
    wrong-bytes             no    no    none  no    no
    too-long                no    no    none  no    kept
    too-small               no    no    none  no    kept
    empty                   no    kept  none  no    kept
    changed                 no    no    none  no    no
    changed-back            more  more  none  more  more
    changed-back-unnoticed  more  more  none  more  more
    compressed              no    kept  none  no    kept
    html                    no    kept  none  no    kept
    html-untyped            no    kept  none  no    kept
    endless                 no    no    none  no    no
    endless-chunked         no    no    none  no    no
    endless-after           no    no    none  no    no
    broken-chunks           no    no    none  no    no
    not-http                no    kept  none  no    kept
    redirect-loop           no    kept  none  no    kept
    endless-redirect        all   rest  none  all   all
    redirect-nowhere        no    kept  none  no    kept
    https-to-https          all   rest  none  all   all
    https-to-http           no    kept  none  no    kept
    redirect-to-a-file      no    kept  none  no    kept
"""
_CHUNK_BYTES = 1 << 18
_SOCKET_BYTES = 1 << 23  # sent, but in no process yet
_TOO_MANY_BYTES = 1_000
_NUM_PROCESSES = 8
# The reason that an error names.
_REASONS = {
    "silent": "did not answer in time",
    "drip": "stalled",
    "reset-at-once": "no connection",
    "truncated": "broke off",
    "status-404": "404",
    "status-503-for-aeons": "503",
    "html": "web page",
    "html-untyped": "54 bytes in place of",
    "endless-chunked": "more than",
    "wrong-bytes": "sha256 differs",
    "redirect-loop": "redirects",
    "redirect-nowhere": "not valid",
    "https-to-http": "from https to http",
}
# Rows of the default command: of each kind of fault one that waits for nothing.
_FEW = (
    "right", "no-etag", "chunked", "truncated", "reset", "lying-206", "ignores-if-range",
    "status-416", "status-503-once", "wrong-bytes", "too-long", "changed", "html",
)  # fmt: skip


class State(StrEnum):
    """The partial download before the download."""

    COLD = "nothing"
    HALF = "half"
    WHOLE = "all"
    OVERSIZE = "too much"
    OTHER = "half of another version"


def expectations():
    rows = [line.split() for line in _EXPECTED.strip().splitlines()[1:]]
    return {
        (row[0], state): code for row in rows for state, code in zip(State, row[1:], strict=True)
    }


def file_at(servers, behaviour, name):
    """Return the file as a server of that behaviour publishes it."""
    server = servers.secure if behaviour in OVER_TLS else servers.plain
    url = f"{server.url}/{behaviour}/{name}"
    return PublishedFile("cifar10", name, url, len(CONTENT), SHA256)


def fetch(file, retry=LONG, **options):
    progress = ByteProgress("", total=0, quiet=True)
    return download(file, FetchOptions(retry=retry, **options), progress=progress)


def prepare(servers, file, behaviour, state):
    """Bring a state about: by a download that breaks off, and bytes after what it left."""
    if state is State.COLD:
        return
    server = servers.plain
    version = as_seen_from(behaviour, server.other if state is State.OTHER else server.right)
    servers.ledger.broken_off[file.name] = (version, HALF_BYTES)
    with contextlib.suppress(DownloadError):
        fetch(file, RetryPolicy(attempts=1))
    assert file.part_path.stat().st_size == HALF_BYTES
    if state in (State.WHOLE, State.OVERSIZE):
        with file.part_path.open("ab") as part:
            part.write(CONTENT[HALF_BYTES:])
            part.write(b"\0" * (_TOO_MANY_BYTES if state is State.OVERSIZE else 0))
    servers.ledger.forget(file.name)


def download_and_check(servers, behaviour, state, code):
    name = f"{behaviour}.{state.name.lower()}.bin"
    file = file_at(servers, behaviour, name)
    prepare(servers, file, behaviour, state)
    case, error, transfer = f"{behaviour}, {state.value} before", "", Transfer()
    try:
        transfer = fetch(file, SHORT if behaviour in _TIMED else LONG)
    except DownloadError as caught:
        error = caught.message
    allowed = {name, f"{name}.lock", file.part_path.name, f"{file.part_path.name}.json"}
    names = {path.name for path in file.path.parent.iterdir()}
    assert {each for each in names if each.lstrip(".").startswith(name)} <= allowed, case
    if code in ("kept", "no"):
        assert error, case
        assert state is not State.COLD or _REASONS.get(behaviour, "") in error, case
        assert not file.path.exists(), case
        assert code == "no" or size_of(file.part_path) == HALF_BYTES, case
        max_bytes = SHORT.attempts * len(CONTENT) + _SOCKET_BYTES
        assert servers.ledger.body_bytes[name] <= max_bytes, case
        return
    max_bytes = {
        "none": 0,
        "rest": len(CONTENT) - HALF_BYTES + _CHUNK_BYTES,
        "all": len(CONTENT) + _CHUNK_BYTES,
        "more": 2 * len(CONTENT) + _CHUNK_BYTES,
    }
    assert error == "", case
    assert file.path.read_bytes() == CONTENT, case
    assert transfer.fetched_bytes <= max_bytes[code], case
    assert size_of(file.part_path) == 0, case


def size_of(path):
    return path.stat().st_size if path.exists() else 0


@pytest.mark.parametrize(
    "behaviours",
    [
        pytest.param(_FEW, id="few"),
        # Alone, since servers that fall silent are given up soon.
        pytest.param(BEHAVIOURS, id="all", marks=[pytest.mark.alone, pytest.mark.slow]),
    ],
)
def test_the_file_is_right_or_refused(behaviours, servers):
    expected = expectations()
    pairs = [(behaviour, state) for behaviour in behaviours for state in State]
    with ThreadPoolExecutor(32) as pool:  # most of them wait
        list(pool.map(lambda pair: download_and_check(servers, *pair, expected[pair]), pairs))


@pytest.fixture
def servers(tmp_path, monkeypatch):
    """Servers of one test, trusted."""
    with serve(CONTENT, BEHAVIOURS, tmp_path) as running:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(running.authority))
        yield running


@pytest.fixture
def dead_url():
    """An address where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


def test_a_certificate_that_is_not_trusted_is_refused(servers, monkeypatch):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    file = file_at(servers, "tls", "a.bin")
    with pytest.raises(DownloadError, match="certificate is not trusted"):
        fetch(file)
    assert not file.path.exists()
    assert servers.ledger.requests["a.bin"] == []


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("behaviour", ["right", "empty", "truncated", "too-small", "wrong-bytes"])
def test_a_file_of_unknown_size_is_right_or_refused_too(behaviour, state, servers):
    """As with --sha256; the server alone knows when it is whole."""
    file = file_at(servers, behaviour, "a.bin")
    prepare(servers, file, behaviour, state)
    file = replace(file, num_bytes=None)
    if behaviour == "right" or (state is State.WHOLE and behaviour != "empty"):
        transfer = fetch(file)
        assert file.path.read_bytes() == CONTENT
        missing = {State.HALF: len(CONTENT) - HALF_BYTES, State.WHOLE: 0}
        assert transfer.fetched_bytes == missing.get(state, len(CONTENT))
    else:
        with pytest.raises(DownloadError):
            fetch(file)
        assert not file.path.exists()


def test_when_no_mirror_is_right_each_is_named_with_its_reason(servers, dead_url):
    file = file_at(servers, "html", "a.bin")
    with pytest.raises(DownloadError) as caught:
        fetch(file, mirrors=(dead_url, f"{servers.plain.url}/status-404"))
    for reason in (f"{dead_url}/a.bin: no connection", "answered 404", "sent a web page"):
        assert reason in caught.value.message
    assert not file.path.exists()


def test_the_command_takes_the_right_file_from_the_second_mirror(
    synthetic_archive, alexnet, tmp_path
):
    content = synthetic_archive.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    with serve(content, BEHAVIOURS, tmp_path) as servers:
        mirrors = [f"{servers.plain.url}/{behaviour}" for behaviour in ("html", "right")]
        result = alexnet(
            "download", "--mirror", mirrors[0], "--mirror", mirrors[1], "--sha256", sha256, "--json"
        )
    assert result.returncode == 0, result.stderr
    assert "web page" in result.stderr
    (row,) = json.loads(result.stdout)["files"]
    assert row["fetched_bytes"] == len(content)
    assert Path(row["path"]).read_bytes() == content


@contextlib.contextmanager
def held_download(servers, file, *, num_processes):
    """Processes that want a file, of which the first returned has fetched half; the others wait."""
    ledger = servers.ledger
    ledger.released.clear()
    script = str(Path(__file__).with_name("fetch_once.py"))
    command = [sys.executable, script, file.name, file.url, str(file.num_bytes), file.sha256]
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
            for _ in range(num_processes)
        ]
        stack.callback(ledger.released.set)
        first_lines = {process: process.stderr.readline() for process in processes}
        processes.sort(key=lambda process: not first_lines[process].startswith("fetching "))
        assert all("waiting" in first_lines[process] for process in processes[1:]), first_lines
        wait_until(lambda: size_of(file.part_path) == HALF_BYTES, *processes)
        yield processes


def test_what_a_killed_process_has_fetched_is_not_fetched_again(servers):
    file, ledger = file_at(servers, "held", "a.bin"), servers.ledger
    with held_download(servers, file, num_processes=1) as (process,):
        process.kill()
        process.wait()
        ledger.forget(file.name)
        ledger.released.set()
        transfer = fetch(file)
    rest = len(CONTENT) - HALF_BYTES
    assert (transfer.resumed_bytes, transfer.fetched_bytes) == (HALF_BYTES, rest)
    (request,) = ledger.requests[file.name]
    assert request.headers["Range"] == f"bytes={HALF_BYTES}-"
    assert request.headers["If-Range"] == servers.plain.right.validators["ETag"]
    assert file.path.read_bytes() == CONTENT


@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_of_many_processes_one_is_killed_and_the_others_end_well(victim, servers):
    file = file_at(servers, "held", "a.bin")
    with held_download(servers, file, num_processes=_NUM_PROCESSES) as processes:
        processes[victim].kill()
        processes[victim].wait()
        servers.ledger.released.set()
        outputs = [process.communicate(timeout=200) for process in processes]
    statuses = [process.returncode for process in processes]
    assert statuses.pop(victim) == -signal.SIGKILL
    assert statuses == [0] * (_NUM_PROCESSES - 1), outputs
    assert file.path.read_bytes() == CONTENT
    # What was sent to the dead one before its socket said so counts too.
    assert servers.ledger.body_bytes[file.name] <= len(CONTENT) + 2 * _CHUNK_BYTES
