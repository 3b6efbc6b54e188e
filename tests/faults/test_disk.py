"""Disks that are full, and files that may not grow."""

import os
import resource
import subprocess
import sys

import pytest

from alexnet_cli.training.checkpoint import newest_checkpoint, read_checkpoint, saved_steps
from tests.faults.checkpoints import files_of

pytestmark = pytest.mark.usefixtures("compiled")

_NAME, _STEPS = "run", 6
_TRAIN = (
    "train", "--model", "cuda-convnet-80sec", "--image-size", "12", "--crop-size", "8",
    "--val-size", "10", "--batch-size", "10", "--epochs", "2", "--save-steps", "2",
    "--save-minutes", "0", "--name", _NAME, "--quiet",
)  # fmt: skip


@pytest.fixture
def small_disk(tmp_path):
    """A disk in memory with room for one checkpoint, but not for two."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("tmpfs may not be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_ends_the_run_and_more_room_lets_it_go_on(
    small_disk, few_images, alexnet, isolated, report
):
    whole = alexnet(*_TRAIN, "--data", few_images, "--output", isolated)
    assert whole.returncode == 0, whole.stderr
    full = alexnet(*_TRAIN, "--data", few_images, "--output", small_disk)
    assert full.returncode == 1
    assert full.stderr.startswith("error: no space left on the device while writing ")
    assert full.stderr.count("\n") == 2, full.stderr
    run = small_disk / _NAME
    saved = newest_checkpoint(run.joinpath("checkpoints"))
    assert 0 < saved.state.step < _STEPS
    assert all("part" not in name for name in files_of(run))
    for step in saved_steps(run / "checkpoints"):
        read_checkpoint(run / "checkpoints" / f"step-{step}")  # none is half
    report(f"no space after step {saved.state.step} of {_STEPS}")
    subprocess.run(["mount", "-o", "remount,size=50m", str(small_disk)], check=True)
    resumed = alexnet("train", "--resume", run, "--quiet")
    assert resumed.returncode == 0, resumed.stderr
    weights = [
        newest_checkpoint(each / "checkpoints").folder / "model.safetensors"
        for each in (isolated / _NAME, run)
    ]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_file_that_may_not_grow_is_an_error_in_words(few_images, alexnet, isolated):
    begun = alexnet(*_TRAIN, "--data", few_images, "--output", isolated)
    assert begun.returncode == 0, begun.stderr
    before = files_of(isolated / _NAME / "checkpoints")

    def forbid_growth():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, resource.RLIM_INFINITY))

    # Coverage, if it is measured, would write a larger file than is allowed.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
    result = subprocess.run(
        [sys.executable, "-m", "alexnet_cli", "train", "--resume", str(isolated / _NAME),
         "--epochs", "3", "--quiet"],
        env=environment, capture_output=True, text=True, check=False, preexec_fn=forbid_growth,
    )  # fmt: skip
    assert result.returncode == 1
    assert "File too large" in result.stderr
    assert "Traceback" not in result.stderr
    assert files_of(isolated / _NAME / "checkpoints") == before
    assert newest_checkpoint(isolated / _NAME / "checkpoints").state.epoch == 2
