"""Downloads from servers that are wrong, slow or gone, and by processes that are killed."""

import hashlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alexnet_cli.data.cache import PublishedFile
from alexnet_cli.data.fetch import FetchOptions, download
from alexnet_cli.errors import DownloadError
from tests.conftest import Run
from tests.faults.conftest import IS_LONG, wait_until
from tests.faults.fetch_once import Silence
from tests.faults.http_behaviours import BEHAVIOURS
from tests.faults.http_server import Servers, serve
from tests.faults.http_table import (
    CONTENT,
    HALF_BYTES,
    LONG,
    SHA256,
    SHORT,
    Cell,
    Outcome,
    State,
    file_at,
    fill_table,
    prepare,
)

# requests leaves a socket to the collector where a server breaks the rules
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning")

# What must come of it, for each state the download can begin in. The right file in place, with
#   none  nothing fetched
#   rest  only what was missing
#   all   the whole file
#   more  bytes that were thrown away in between, but no more than twice the file
# or an error in words and no file, with
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
    slow                    all   rest  none  all   all
    redirect                all   rest  none  all   all
    short-body              all   rest  none  all   all
    truncated               no    no    none  no    no
    reset                   all   rest  none  all   all
    reset-without-ranges    no    no    none  no    no
    reset-at-once           no    kept  none  no    kept
    silent                  no    kept  none  no    kept
    silent-midway           all   rest  none  all   all
    drip                    no    no    none  no    no
    drip-header             no    kept  none  no    kept
    drip-chunk-head         no    no    none  no    no
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
_NUM_PROCESSES = 8
_ROUNDS = 10 if IS_LONG else 2
# Rows of the default command: of each kind of fault one that waits for nothing.
_FEW = (
    "right", "no-etag", "chunked", "truncated", "reset", "lying-206", "ignores-if-range",
    "status-416", "status-503-once", "wrong-bytes", "too-long", "changed", "html",
)  # fmt: skip


def needs_time(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test of the whole table, where servers that fall silent are given up soon."""
    return pytest.mark.alone(pytest.mark.slow(test))


def expectations() -> Iterator[tuple[str, State, str]]:
    """Read the table."""
    for line in _EXPECTED.strip().splitlines()[1:]:
        behaviour, *codes = line.split()
        for state, code in zip(State, codes, strict=True):
            yield behaviour, state, code


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, State], Cell]:
    """All downloads of the table."""
    filled = fill_table(tmp_path_factory.mktemp("http"), list(BEHAVIOURS))
    return {(cell.behaviour, cell.state): cell for cell in filled}


def test_every_behaviour_is_in_the_table() -> None:
    assert list(dict.fromkeys(row[0] for row in expectations())) == list(BEHAVIOURS)


def test_the_file_is_right_or_refused_by_a_few_servers(tmp_path: Path) -> None:
    codes = {row[:2]: row[2] for row in expectations() if row[0] in _FEW}
    cells = fill_table(tmp_path, list(_FEW))
    assert {(cell.behaviour, cell.state) for cell in cells} == set(codes)
    for cell in cells:
        assert_as_expected(cell, codes[cell.behaviour, cell.state])


@needs_time
@pytest.mark.parametrize(("behaviour", "state", "code"), list(expectations()))
def test_the_file_is_right_or_refused(
    behaviour: str, state: State, code: str, cells: dict[tuple[str, State], Cell]
) -> None:
    assert_as_expected(cells[behaviour, state], code)


def assert_as_expected(cell: Cell, code: str) -> None:
    """Compare what came of a download with its place in the table."""
    assert cell.strays == [], cell
    if code in ("kept", "no"):
        assert cell.outcome is Outcome.REFUSED, cell
        assert cell.cause
        assert code == "no" or cell.part_bytes == HALF_BYTES, cell
        assert cell.sent_bytes <= SHORT.attempts * len(CONTENT) + _SOCKET_BYTES, cell
        return
    most = {
        "none": 0,
        "rest": len(CONTENT) - HALF_BYTES + _CHUNK_BYTES,
        "all": len(CONTENT) + _CHUNK_BYTES,
        "more": 2 * len(CONTENT) + _CHUNK_BYTES,
    }[code]
    assert cell.outcome is Outcome.RIGHT, cell
    assert cell.fetched_bytes is not None
    assert cell.fetched_bytes <= most, cell
    assert cell.part_bytes == 0, cell


@needs_time
def test_the_reasons_are_told(cells: dict[tuple[str, State], Cell]) -> None:
    told = {
        "silent": "did not answer in time",
        "drip": "stalled",
        "drip-header": "stalled",
        "drip-chunk-head": "stalled",
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
    for behaviour, reason in told.items():
        assert reason in cells[behaviour, State.COLD].cause


@needs_time
def test_the_whole_table_in_figures(
    cells: dict[tuple[str, State], Cell], report: Callable[[str], None]
) -> None:
    outcomes = [cell.outcome for cell in cells.values()]
    counts = ", ".join(f"{outcomes.count(each)} {each}" for each in Outcome)
    report(f"{len(outcomes)} downloads: {counts}")
    assert set(outcomes) == {Outcome.RIGHT, Outcome.REFUSED}


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    """Servers of one test, trusted."""
    with serve(CONTENT, BEHAVIOURS, tmp_path) as running:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(running.authority))
        yield running


@pytest.fixture
def dead_url() -> str:
    """An address where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


def test_a_certificate_that_is_not_trusted_is_refused(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    file = file_at(servers, "tls", "a.bin")
    with pytest.raises(DownloadError, match="certificate is not trusted"):
        download(file, FetchOptions(patience=LONG), progress=Silence())
    assert not file.path.exists()
    assert servers.ledger.requests["a.bin"] == []


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("behaviour", ["right", "empty", "truncated", "too-small", "wrong-bytes"])
def test_a_file_of_unknown_size_is_right_or_refused_too(
    behaviour: str, state: State, servers: Servers
) -> None:
    """As with --sha256; the server alone knows when it is whole."""
    file = file_at(servers, behaviour, "a.bin")
    prepare(servers, file, behaviour, state)
    file = replace(file, num_bytes=None)
    options = FetchOptions(patience=LONG)
    if behaviour == "right" or (state is State.WHOLE and behaviour != "empty"):
        transfer = download(file, options, progress=Silence())
        assert file.path.read_bytes() == CONTENT
        missing = {State.HALF: len(CONTENT) - HALF_BYTES, State.WHOLE: 0}
        assert transfer.fetched_bytes == missing.get(state, len(CONTENT))
    else:
        with pytest.raises(DownloadError):
            download(file, options, progress=Silence())
        assert not file.path.exists()


def test_mirrors_are_asked_in_order_until_one_is_right(servers: Servers, dead_url: str) -> None:
    base = servers.plain.url
    mirrors = (dead_url, f"{base}/truncated", f"{base}/wrong-bytes", f"{base}/right")
    file = file_at(servers, "html", "a.bin")
    options = FetchOptions(mirrors=mirrors, patience=LONG)
    download(file, options, progress=Silence())
    assert file.path.read_bytes() == CONTENT
    asked = [request.path.split("/")[1] for request in servers.ledger.requests["a.bin"]]
    assert list(dict.fromkeys(asked)) == ["truncated", "wrong-bytes", "right"]


def test_when_no_mirror_is_right_each_is_named_with_its_reason(
    servers: Servers, dead_url: str
) -> None:
    file = file_at(servers, "html", "a.bin")
    options = FetchOptions(mirrors=(dead_url, f"{servers.plain.url}/status-404"), patience=LONG)
    with pytest.raises(DownloadError) as caught:
        download(file, options, progress=Silence())
    for reason in (f"{dead_url}/a.bin: no connection", "answered 404", "sent a web page"):
        assert reason in caught.value.message
    assert not file.path.exists()


def test_the_command_takes_the_right_file_from_the_second_mirror(
    synthetic_archive: Path, alexnet: Run, tmp_path: Path
) -> None:
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


def start(file: PublishedFile, *, url: str = "") -> "subprocess.Popen[str]":
    """Download in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("fetch_once.py"))]
    return subprocess.Popen(
        [*command, file.name, url or file.url, str(file.num_bytes), file.sha256],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_what_a_killed_process_has_fetched_is_not_fetched_again(servers: Servers) -> None:
    file, ledger = file_at(servers, "slow", "a.bin"), servers.ledger
    with start(file) as process:
        wait_until(lambda: file.part_path.exists() and file.part_path.stat().st_size > 1 << 20)
        process.kill()
    kept = file.part_path.stat().st_size
    ledger.forget(file.name)
    transfer = download(file, FetchOptions(), progress=Silence())
    assert (transfer.resumed_bytes, transfer.fetched_bytes) == (kept, len(CONTENT) - kept)
    (request,) = ledger.requests[file.name]
    assert request.headers["Range"] == f"bytes={kept}-"
    assert request.headers["If-Range"] == servers.plain.right.validators["ETag"]
    assert file.path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "number",
    [0, *(pytest.param(number, marks=pytest.mark.slow) for number in range(1, _ROUNDS))],
)
def test_of_many_processes_one_is_killed_and_the_others_end_well(
    number: int, servers: Servers, report: Callable[[str], None]
) -> None:
    """In every other round the one that is downloading, at a random moment."""
    name, ledger, dice = f"{number}.bin", servers.ledger, np.random.default_rng(number)
    file = PublishedFile("cifar10", name, "", len(CONTENT), SHA256)
    names = [f"{number}-{each}" for each in range(_NUM_PROCESSES)]  # tells who asks
    processes = [start(file, url=f"{servers.plain.url}/slow/{each}") for each in names]
    wait_until(lambda: any(ledger.requests.get(each) for each in names))
    time.sleep(dice.uniform(0, 1))
    downloading = next(index for index, each in enumerate(names) if ledger.requests.get(each))
    victim = int(dice.integers(_NUM_PROCESSES)) if number % 2 else downloading
    processes[victim].kill()
    outputs = [process.communicate(timeout=200) for process in processes]
    statuses = [process.returncode for process in processes]
    assert statuses[victim] in (-signal.SIGKILL, 0)
    del statuses[victim]
    assert statuses == [0] * (_NUM_PROCESSES - 1), outputs
    assert file.path.read_bytes() == CONTENT
    sent = sum(ledger.body_bytes[each] for each in names)
    report(f"{sent - len(CONTENT):,} bytes more than the file")
    assert sent <= len(CONTENT) + 2 * _CHUNK_BYTES


def test_a_broken_lock_costs_bytes_but_never_the_file(
    servers: Servers, report: Callable[[str], None]
) -> None:
    """Three processes begin with the same part at once."""
    file = file_at(servers, "slow", "a.bin")
    processes: list[subprocess.Popen[str]] = []
    for number in range(1, 4):
        processes.append(start(file))
        wait_until(lambda number=number: len(servers.ledger.requests["a.bin"]) >= number)
        Path(f"{file.path}.lock").unlink(missing_ok=True)
    outputs = [process.communicate(timeout=200) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert file.path.read_bytes() == CONTENT
    assert not file.part_path.exists()
    sent = servers.ledger.body_bytes["a.bin"]
    report(f"{sent / len(CONTENT):.1f} times the file was sent to three processes")
    assert sent < 2 * len(processes) * len(CONTENT)
