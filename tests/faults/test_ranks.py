"""Several processes, of which one dies or is stopped."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alexnet_cli.training.checkpoint import newest_checkpoint
from tests.conftest import TINY
from tests.faults.conftest import IS_LONG, wait_until

pytestmark = [
    pytest.mark.alone,
    pytest.mark.slow,
    pytest.mark.timeout(3_600 if IS_LONG else 300),
    pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores"),
]
_RUN = "alexnet-cifar-shapes"
_TIMES = 5 if IS_LONG else 1
_SIGNALS = 20 if IS_LONG else 1
_TWO = ("--processes", "2")
_EPOCHS = 8
_TRAIN = ("train", *TINY, "--epochs", str(_EPOCHS), "--save-steps", "5", *_TWO)


def start(*arguments):
    """Start the command."""
    return subprocess.Popen(
        [sys.executable, "-m", "alexnet_cli", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ranks_of(process):
    """Return the processes that it started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in children.read_text().split()]


@contextlib.contextmanager
def after_checkpoint(name, *more):
    """Train in a folder of that name; act on the process and its ranks once something is saved."""
    with start(*_TRAIN, "--output", name, *more) as process:
        checkpoints = Path(name, _RUN, "checkpoints")
        wait_until(lambda: any(checkpoints.glob("step-*/state.json")), process)
        yield process, ranks_of(process)


def end_after(name, rank, number, *more):
    """Signal one rank once something is saved; return status, stderr and seconds to the end."""
    with after_checkpoint(name, *more) as (process, ranks):
        os.kill(ranks[rank], number)
        begin = time.monotonic()
        _, stderr = process.communicate(timeout=200)
    return process.returncode, stderr, time.monotonic() - begin


@pytest.fixture
def resumes_to_the_same(whole, alexnet_process):
    def check(name):
        resumed = alexnet_process("train", "--resume", f"{name}/{_RUN}", *_TWO)
        assert resumed.returncode == 0, resumed.stderr
        assert weights_in(name) == whole

    return check


def weights_in(name):
    """Return the weights that a run ended in."""
    found = newest_checkpoint(Path(name, _RUN, "checkpoints"))
    assert found.state.epoch == _EPOCHS
    return (found.folder / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Weights of two processes that nothing happens to."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # as the others have it
        with start(*_TRAIN, "--output", str(folder)) as process:
            _, stderr = process.communicate(timeout=200)
    assert process.returncode == 0, stderr
    return weights_in(folder)


def test_a_killed_process_is_started_again_and_the_result_is_the_same(whole):
    for number in range(_TIMES):
        name = f"killed-{number}"
        status, stderr, _ = end_after(name, number % 2, signal.SIGKILL, "--max-restarts", "2")
        assert status == 0, stderr
        assert "resuming" in stderr
        assert weights_in(name) == whole
        assert [path.name for path in Path(name).iterdir()] == [_RUN]


def test_without_restarts_all_end_within_ten_seconds(report):
    for number in range(_TIMES):
        status, stderr, seconds = end_after(f"dead-{number}", number % 2, signal.SIGKILL)
        report(f"all ended after {seconds:.1f} s")
        assert status == 1
        assert "killed by SIGKILL" in stderr
        assert seconds < 10


def test_a_signal_to_one_process_stops_all_and_they_go_on_to_the_same(resumes_to_the_same):
    for number in range(_SIGNALS):
        name = f"stopped-{number}"
        status, stderr, _ = end_after(name, (number + 1) % 2, signal.SIGTERM)
        assert status == 143, stderr
        resumes_to_the_same(name)


def test_a_signal_while_the_ranks_agree_is_for_the_next_time():
    script = Path(__file__).with_name("agree_late.py")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    subprocess.run([*launcher, "--nproc-per-node=2", str(script)], check=True, timeout=200)
    assert [Path(f"{rank}.txt").read_text() for rank in (0, 1)] == ["[None, 15]"] * 2


def is_running(pid):
    """Tell whether a process lives; nobody may have asked for the status of one that ended."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_without_their_launcher_all_save_and_end(resumes_to_the_same):
    with after_checkpoint("orphans") as (process, ranks):
        process.kill()
        wait_until(lambda: not any(is_running(pid) for pid in ranks), seconds=10)
    resumes_to_the_same("orphans")


def test_one_process_goes_on_with_the_run_of_two_only_if_it_may_drift(alexnet_process):
    begun = alexnet_process("train", *TINY, "--epochs", "1", *_TWO)
    assert begun.returncode == 0, begun.stderr
    refused = alexnet_process("train", "--resume", "--epochs", "2")
    assert refused.returncode == 2
    assert "ranks was 2, is none" in refused.stderr
    drifting = alexnet_process("train", "--resume", "--epochs", "2", "--allow-drift")
    assert drifting.returncode == 0, drifting.stderr
    assert "will not be bit-identical: ranks was 2" in drifting.stderr
