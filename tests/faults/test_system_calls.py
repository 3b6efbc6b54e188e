"""A save that is killed, or whose disk fails, at each of its system calls (by strace)."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from alexnet_cli.errors import AlexnetError
from alexnet_cli.training.checkpoint import MODEL_FILE, Snapshot, write_checkpoint
from alexnet_cli.training.retention import newest_checkpoint, prune_checkpoints
from tests.faults.checkpoints import files_of, save_steps, snapshot

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")

_SAVED, _FAILED = 0, 3
_CALLS = ("write", "fsync", "rename", "unlink", "unlinkat", "rmdir", "mkdir", "openat")
_NEVER = 10_000


def save(folder: Path, what: Snapshot) -> None:
    """Save as training does."""
    prune_checkpoints(write_checkpoint(folder, what), best_step=what.state.best_step)


def save_with(injection: str, folder: Path, what: Snapshot) -> tuple[int, bool]:
    """Save in a process with a fault; return its status, and whether the fault came up."""
    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        status = 4
        try:
            os.read(ready, 1)  # until strace is attached
            save(folder, what)
            status = _SAVED
        except (AlexnetError, OSError):  # both end the command with one line
            status = _FAILED
        finally:
            os._exit(status)
    log = folder.parent / "strace.log"
    command = ["strace", "-p", str(child), "-o", str(log), "-e", f"inject={injection}"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as strace:
        deadline = time.monotonic() + 20
        while "TracerPid:\t0\n" in Path(f"/proc/{child}/status").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.write(go, b".")
        _, status = os.waitpid(child, 0)
        strace.wait(timeout=20)
    os.close(ready)
    os.close(go)
    came_up = "(INJECTED)" in log.read_text() or "killed by SIGKILL" in log.read_text()
    return os.waitstatus_to_exitcode(status), came_up


def faults_of(call: str, fault: str, tmp_path: Path) -> "list[tuple[int, Path]]":
    """Plant a fault at the first, second, … such call of a save; return status and folder."""
    found = []
    for number in range(1, _NEVER):
        folder = tmp_path / f"{number}" / "checkpoints"
        save_steps(folder, 1, 2)
        injection = f"{call}:{fault}:when={number}"
        status, came_up = save_with(injection, folder, snapshot(3))
        if not came_up:
            assert status == _SAVED
            return found
        found.append((status, folder))
    raise AssertionError("a save has an end")


def resumes_whole(folder: Path) -> int:
    """Return the step that a resume would begin at; its content is that step's."""
    found = newest_checkpoint(folder)
    assert float(found.read_tensors(MODEL_FILE)["weight"].mean()) == found.state.step
    return found.state.step


def saved_undisturbed(tmp_path: Path) -> list[str]:
    """Return the files that a save leaves."""
    folder = save_steps(tmp_path / "undisturbed", 1, 2)
    save(folder, snapshot(3))
    return files_of(folder)


@pytest.mark.parametrize("call", _CALLS)
def test_killed_at_each_call_it_resumes_from_old_or_new(
    call: str, tmp_path: Path, report: Callable[[str], None]
) -> None:
    expected = saved_undisturbed(tmp_path)
    places = faults_of(call, "signal=KILL", tmp_path)
    assert places
    report(f"killed at {len(places)} calls")
    for status, folder in places:
        assert status < 0
        assert resumes_whole(folder) in (2, 3)
        save(folder, snapshot(3))  # as a resumed run does
        assert resumes_whole(folder) == 3
        assert files_of(folder) == expected  # nothing is left of the killed attempt


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("call", _CALLS)
def test_a_failing_disk_leaves_the_old_one_whole(
    call: str, error: str, tmp_path: Path, report: Callable[[str], None]
) -> None:
    places = faults_of(call, f"error={error}", tmp_path)
    assert places
    report(f"{error} at {len(places)} calls")
    for status, folder in places:
        assert status in (_SAVED, _FAILED)
        assert resumes_whole(folder) in (2, 3)
        if call not in ("unlink", "unlinkat", "rmdir"):  # what cannot be deleted, stays
            assert not [name for name in files_of(folder) if ".part" in name]
