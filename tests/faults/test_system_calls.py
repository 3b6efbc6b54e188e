"""A save that is killed, or whose disk fails, at each of its system calls (by strace)."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from alexnet_cli.errors import AlexnetError
from alexnet_cli.training.checkpoint import MODEL_FILE, newest_checkpoint
from tests.faults.checkpoints import files_of, save_and_prune, save_steps
from tests.faults.conftest import wait_until

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")

_SAVED, _FAILED = 0, 3
_CALLS = ("write", "fsync", "rename", "unlink", "unlinkat", "rmdir", "mkdir", "openat")
_NEVER = 10_000


def save_with(options, folder, step, *, epoch=1):
    """Save a step in a process under strace; return its status, and what strace saw."""
    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        status = 4
        try:
            os.read(ready, 1)  # until strace is attached
            save_and_prune(folder, step, epoch=epoch)
            status = _SAVED
        except (AlexnetError, OSError):  # both end the command with one line
            status = _FAILED
        finally:
            os._exit(status)
    log = folder.parent / "strace.log"
    command = ["strace", "-p", str(child), "-o", str(log), *options]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as strace:
        status_file = Path(f"/proc/{child}/status")
        wait_until(lambda: "TracerPid:\t0\n" not in status_file.read_text(), strace)
        os.write(go, b".")
        _, status = os.waitpid(child, 0)
        strace.wait(timeout=100)
    os.close(ready)
    os.close(go)
    return os.waitstatus_to_exitcode(status), log.read_text()


def faults_of(call, fault, tmp_path, *, before=(1, 2), epoch=1):
    """Plant a fault at the first, second, … such call of a save; return status and folder.

    The save is of step 3, where the steps `before` are saved already.
    """
    found = []
    for number in range(1, _NEVER):
        folder = tmp_path / f"{number}" / "checkpoints"
        save_steps(folder, *before)
        options = ["-e", f"inject={call}:{fault}:when={number}"]
        status, seen = save_with(options, folder, 3, epoch=epoch)
        if "(INJECTED)" not in seen and "killed by SIGKILL" not in seen:
            assert status == _SAVED
            return found
        found.append((status, folder))
    raise AssertionError("a save has an end")


def resumes_whole(folder):
    """Return the step that a resume would begin at; its content is that step's."""
    found = newest_checkpoint(folder)
    assert float(found.read_tensors(MODEL_FILE)["weight"].mean()) == found.state.step
    return found.state.step


def saved_undisturbed(tmp_path):
    """Return the files that a save leaves."""
    folder = save_steps(tmp_path / "undisturbed", 1, 2)
    save_and_prune(folder, 3)
    return files_of(folder)


@pytest.mark.parametrize("call", _CALLS)
def test_killed_at_each_call_it_resumes_from_old_or_new(call, tmp_path, report):
    expected = saved_undisturbed(tmp_path)
    places = faults_of(call, "signal=KILL", tmp_path)
    assert places
    report(f"killed at {len(places)} calls")
    for status, folder in places:
        assert status < 0
        assert resumes_whole(folder) in (2, 3)
        save_and_prune(folder, 3)  # as a resumed run does
        assert resumes_whole(folder) == 3
        assert files_of(folder) == expected  # nothing is left of the killed attempt


@pytest.mark.parametrize("error", [pytest.param("EIO", marks=pytest.mark.slow), "ENOSPC"])
@pytest.mark.parametrize("call", _CALLS)
def test_a_failing_disk_leaves_the_old_one_whole(call, error, tmp_path, report):
    places = faults_of(call, f"error={error}", tmp_path)
    assert places
    report(f"{error} at {len(places)} calls")
    for status, folder in places:
        assert status in (_SAVED, _FAILED)
        assert resumes_whole(folder) in (2, 3)
        if call not in ("unlink", "unlinkat", "rmdir"):  # what cannot be deleted, stays
            assert not [name for name in files_of(folder) if ".part" in name]


@pytest.mark.parametrize("call", ["write", "rename", "openat"])
def test_killed_while_the_only_one_is_saved_again_it_stays_whole(call, tmp_path):
    """As after a stop in the validation: the same weights, but the epoch is over now."""
    places = faults_of(call, "signal=KILL", tmp_path, before=(3,), epoch=2)
    assert places
    for _, folder in places:
        assert resumes_whole(folder) == 3
        assert newest_checkpoint(folder).state.epoch in (1, 2)


def test_each_file_is_on_the_disk_before_it_gets_its_name(tmp_path):
    folder = save_steps(tmp_path / "checkpoints", 1)
    options = ["-y", "-e", "trace=fsync,rename"]
    status, seen = save_with(options, folder, 2)
    assert status == _SAVED
    flushed, named = set(), []
    for line in seen.splitlines():
        paths = re.findall(r'[<"]([^<>"]+)[>"]', line)
        if line.startswith("fsync"):
            flushed.add(paths[0])
        elif line.startswith("rename") and str(folder) in line:  # coverage has files of its own
            assert paths[0] in flushed
            flushed.discard(str(folder / "step-2"))
            named.append(Path(paths[1]).name)
    assert named == ["model.safetensors", "optimizer.safetensors", "state.json"]
    assert str(folder / "step-2") in flushed  # the last name too
