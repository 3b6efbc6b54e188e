"""Runs that are killed or stopped at random moments end in the bytes of one that is not."""

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from alexnet_cli.errors import TrainingError
from alexnet_cli.training.checkpoint import (
    MODEL_FILE,
    OPTIMIZER_FILE,
    newest_checkpoint,
    saved_steps,
)
from alexnet_cli.training.verification import KilledRun
from tests.conftest import run_here
from tests.faults.conftest import IS_LONG, wait_until

pytestmark = [
    pytest.mark.timeout(3_600 if IS_LONG else 300),
    pytest.mark.usefixtures("compiled"),
]

_MOSTLY_VALIDATION = {"val_size": 9_900, "batch_size": 25, "epochs": 60 if IS_LONG else 12}
_STEPS = 90
_SMALL = (
    "train", "--model", "cuda-convnet-80sec", "--image-size", "12", "--crop-size", "8",
    "--val-size", "10", "--batch-size", "10", "--epochs", str(_STEPS // 3), "--quiet",
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(few_images, tmp_path_factory):
    """The last checkpoint of a small run that nothing happens to."""
    folder, before = tmp_path_factory.mktemp("whole"), torch.get_num_threads()
    torch.set_num_threads(1)  # as the killed one has
    run_here(*_SMALL, "--data", str(few_images), "--output", str(folder), "--name", "run")
    torch.set_num_threads(before)
    return newest_checkpoint(folder / "run" / "checkpoints")


@pytest.mark.parametrize(
    ("by", "status"),
    [(signal.SIGKILL, -9), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_a_small_run_ends_in_the_same_bytes(by, status, few_images, whole, alexnet, isolated):
    train = (*_SMALL, "--data", few_images, "--output", isolated)
    command = [sys.executable, "-m", "alexnet_cli", *train, "--name", "killed", "--save-steps", "1"]
    checkpoints = isolated / "killed" / "checkpoints"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wait_until(lambda: any(step >= 5 for step in saved_steps(checkpoints)), process)
        process.send_signal(by)
        _, stderr = process.communicate(timeout=100)
    assert process.returncode == status, stderr
    assert 0 < newest_checkpoint(checkpoints).state.step < _STEPS
    resumed = alexnet("train", "--resume", isolated / "killed", "--quiet")
    assert resumed.returncode == 0, resumed.stderr
    ends = [whole, newest_checkpoint(checkpoints)]
    assert [end.state.step for end in ends] == [_STEPS, _STEPS]
    for file in (MODEL_FILE, OPTIMIZER_FILE):
        assert len({(end.folder / file).read_bytes() for end in ends}) == 1, file


@pytest.mark.slow
def test_a_killed_run_ends_in_the_same_bytes(alexnet_process, report):
    """SIGKILL, through the command that shows it."""
    kills, epochs = (100, 30) if IS_LONG else (10, 3)
    result = alexnet_process(
        "verify-resume", "--kills", str(kills), "--epochs", str(epochs), "--json",
        timeout_seconds=3_600,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert [each["name"] for each in document["comparisons"] if not each["is_same"]] == []
    assert len({each["uninterrupted"] for each in document["comparisons"]}) >= 3
    assert sum(attempt["killed"] for attempt in document["attempts"]) == kills
    report(f"{kills} kills, the same bytes")
    assert document["attempts"][-1]["saved_step"] == 125 * epochs


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, _MOSTLY_VALIDATION], ids=["training", "validation"])
def test_a_stopped_run_saves_in_time_and_ends_in_the_same_bytes(settings, tmp_path, report):
    num_signals = 20 if IS_LONG else 3
    folder = tmp_path / "runs"
    folder.mkdir()
    settings = {**settings, "epochs": num_signals + 4}  # each signal saves, so each goes further
    run = KilledRun(settings, folder, ["--save-minutes", "0", "--device", "cpu"], save_steps=0)
    run.train_uninterrupted()
    attempts = list(run.train_killed(num_signals, seed=1, by=signal.SIGTERM))
    *stopped, _ = attempts
    slowest = max(attempt.exit_seconds for attempt in stopped)
    report(f"{len(stopped)} SIGTERM, at most {slowest:.1f} s to the end")
    assert slowest < 10
    assert all(attempt.saved_step for attempt in stopped)  # nothing is lost
    assert all(each.is_same for each in run.compare())


@pytest.mark.slow
def test_a_run_that_is_not_killed_proves_nothing(tmp_path):
    """The run that should be killed is complete already, as on a machine that is too fast."""
    folder = tmp_path / "runs"
    folder.mkdir()
    settings = {"val_size": 9_900, "batch_size": 100, "epochs": 2}
    run = KilledRun(settings, folder, ["--device", "cpu"], save_steps=1)
    run.train_uninterrupted()
    shutil.copytree(folder / "uninterrupted", folder / "killed")
    with pytest.raises(TrainingError) as caught:
        list(run.train_killed(1, seed=0))
    assert caught.value.code == "not_killed"


@pytest.mark.alone
@pytest.mark.slow
def test_a_second_ctrl_c_ends_it_at_once():
    train = ("train", "--data", "shapes", "--batch-size", "1500", "--val-size", "1000")
    command = [sys.executable, "-m", "alexnet_cli", *train]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert any(line.startswith("first update") for line in process.stderr)
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        assert process.poll() is None  # it is in the middle of an update
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        assert process.wait(timeout=20) == -signal.SIGINT
        assert time.monotonic() - begin < 1
