"""Refusals, signals and damaged surroundings: exit codes, files and no traceback.

The messages are checked in test_messages.py.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.made_runs import copy_run


def test_cuda_is_a_contract(small: tuple[str, ...], alexnet: Run) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    result = alexnet("train", *small, "--device", "cuda")
    assert result.returncode == 1
    assert "--device cpu" in result.stderr


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something that must come, while a process lives."""
    end = time.monotonic() + 200
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_the_hint_resumes(
    number: signal.Signals, status: int, small: tuple[str, ...]
) -> None:
    endless = ("--epochs", "10000", "--model", "cuda-convnet-80sec")
    process = subprocess.Popen(
        [sys.executable, "-m", "alexnet_cli", "train", *small, *endless],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_until(Path("runs/cuda-convnet-80sec-shapes/metrics.csv").exists, process)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=200)
    assert process.returncode == status, stderr
    hint = next(line for line in stderr.splitlines() if line.startswith("hint: "))
    command = hint.partition("alexnet ")[2].split()
    assert command == ["train", "--resume", "runs/cuda-convnet-80sec-shapes"]
    if number == signal.SIGINT:
        return  # once is enough
    resumed = subprocess.Popen(
        [sys.executable, "-m", "alexnet_cli", *command], stderr=subprocess.PIPE, text=True
    )
    first_lines = [resumed.stderr.readline() for _ in range(4)] if resumed.stderr else []
    resumed.kill()
    resumed.communicate()
    assert "resuming" in first_lines[0]
    assert "first update" in first_lines[2]
    assert "epoch" in first_lines[3]


def test_resume_refuses_another_setting(trained_folder: Path, alexnet: Run) -> None:
    run = trained_folder / "runs" / "alexnet-cifar-shapes"
    for given in (("--batch-size", "7"), ("--epochs", "1"), ("--lr", "0.5")):
        result = alexnet("train", "--resume", run, *given)
        assert result.returncode == 2
        assert "other settings" in result.stderr


def test_resume_of_a_complete_run_says_so(trained_folder: Path, alexnet: Run) -> None:
    run = trained_folder / "runs" / "alexnet-cifar-shapes"
    result = alexnet("train", "--resume", run)
    assert result.returncode == 0, result.stderr
    assert "has all its 2 epochs" in result.stderr
    assert result.stdout == f"{run}\n"


def test_a_run_that_grows_ends_as_if_it_had_had_all_epochs_from_the_start(
    trained_folder: Path, small: tuple[str, ...], alexnet: Run, isolated: Path
) -> None:
    copy_run(trained_folder / "runs", isolated / "runs")
    grown = alexnet("train", "--resume", "--epochs", "3")  # the newest
    assert grown.returncode == 0, grown.stderr
    whole = alexnet("train", *small, "--epochs", "3", "--name", "whole")
    assert whole.returncode == 0, whole.stderr
    runs = [isolated / "runs" / name for name in ("alexnet-cifar-shapes", "whole")]
    for name in ("config.toml", "checkpoints/step-24/model.safetensors"):
        assert (runs[0] / name).read_bytes() == (runs[1] / name).read_bytes()


def test_a_run_goes_on_from_one_of_its_checkpoints(
    trained_folder: Path, alexnet: Run, isolated: Path
) -> None:
    run = isolated / "runs" / "alexnet-cifar-shapes"
    copy_run(trained_folder / "runs", isolated / "runs")
    expected = (run / "checkpoints" / "step-16" / "model.safetensors").read_bytes()
    resumed = alexnet("train", "--resume", run / "checkpoints" / "step-8")
    assert resumed.returncode == 0, resumed.stderr
    assert "at step 8" in resumed.stderr
    assert (run / "checkpoints" / "step-16" / "model.safetensors").read_bytes() == expected


def test_an_ignored_signal_stays_ignored() -> None:
    import signal as signals

    from alexnet_cli.training.ranks import StopRequest

    before = signals.signal(signals.SIGHUP, signals.SIG_IGN)  # as nohup does
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signals.SIGHUP)
            assert stop.signal_number is None
            os.kill(os.getpid(), signals.SIGTERM)
            assert stop.signal_number == signals.SIGTERM
    finally:
        signals.signal(signals.SIGHUP, before)


def test_a_signal_in_the_middle_of_a_write_ends_with_its_code_too() -> None:
    code = """
import io, os, signal, sys
from alexnet_cli.cli.main import run

class Interrupted(io.RawIOBase):
    def writable(self):
        return True

    def write(self, content):
        os.kill(os.getpid(), signal.SIGINT)
        return len(content)

sys.stdout = io.TextIOWrapper(io.BufferedWriter(Interrupted()))
run(["models"])
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 130, ended.stderr
    assert ended.stderr.startswith("interrupted")


def test_an_unreadable_path_is_an_error_in_words(alexnet: Run) -> None:
    # Root may read anything, so a name that no file system takes stands in for it.
    result = alexnet("download", "--archive", "x" * 300, "--json")
    assert result.returncode == 1
    assert json.loads(result.stderr)["error"]["message"]


def test_a_closed_pipe_is_quiet(trained_folder: Path) -> None:
    command = f"{sys.executable} -m alexnet_cli predict {trained_folder}/0.png --json"
    model = trained_folder / "runs" / "alexnet-cifar-shapes"
    result = subprocess.run(
        ["bash", "-c", f"{command} --model {model} | true"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in result.stderr


def test_a_fifo_does_not_hang_and_a_strange_name_does_not_stop_the_others(
    trained_folder: Path, alexnet: Run
) -> None:
    os.mkfifo("fifo.png")
    strange = os.fsdecode(b"caf\xe9.png")
    Path(strange).write_bytes((trained_folder / "0.png").read_bytes())
    run = trained_folder / "runs" / "alexnet-cifar-shapes"
    for style in ((), ("--json",)):
        result = alexnet("predict", "fifo.png", strange, "[red]x.png", "--model", run, *style)
        assert result.returncode == 1
        assert "Traceback" not in result.stderr
        assert "fifo.png" in result.stderr
        assert "caf" in result.stdout


def test_control_characters_of_file_names_are_escaped(trained_folder: Path, alexnet: Run) -> None:
    strange = "a\x1b[31m\nb.png"
    Path(strange).write_bytes((trained_folder / "0.png").read_bytes())
    run = trained_folder / "runs" / "alexnet-cifar-shapes"
    shown = alexnet("predict", strange, "no\x1b\x07such.png", "--model", run)
    assert r"a\x1b[31m\nb.png" in shown.stdout
    assert shown.stderr.splitlines()[-2] == r"error: no such image: no\x1b\x07such.png"
    assert "\x1b" not in shown.stdout + shown.stderr
    answer = alexnet("predict", strange, "--model", run, "--json")
    assert json.loads(answer.stdout)["file"] == strange


def test_explain_names_its_own_flag(alexnet: Run) -> None:
    for name, own in (("alexnet", 224), ("alexnet-cifar", 28), ("cuda-convnet-13pct", 24)):
        refused = alexnet("explain", name, "--crop-size", "1")
        assert refused.returncode == 2
        hint = refused.stderr.splitlines()[1].partition("alexnet ")[2].split()
        assert hint == ["explain", name, "--crop-size", str(own)]


def test_export_never_writes_into_a_checkpoint(trained_folder: Path, alexnet: Run) -> None:
    (first, *_) = (trained_folder / "runs" / "alexnet-cifar-shapes" / "checkpoints").iterdir()
    before = (first / "model.safetensors").read_bytes()
    result = alexnet("export", first, "--format", "safetensors", "--output", first)
    assert result.returncode == 2
    assert (first / "model.safetensors").read_bytes() == before


def test_records_lost_to_a_kill_are_written_again(
    trained_folder: Path, alexnet: Run, isolated: Path
) -> None:
    run = isolated / "run"
    copy_run(trained_folder / "runs" / "alexnet-cifar-shapes", run)
    (run / "metrics.json").unlink()
    (run / "README.md").unlink()
    alexnet("train", "--resume", run)
    assert json.loads((run / "metrics.json").read_text())["epochs"] == 2
    assert (run / "README.md").is_file()


def test_a_second_process_cannot_train_the_same_run(
    trained_folder: Path, alexnet: Run, isolated: Path
) -> None:
    from filelock import FileLock

    run = isolated / "run"
    copy_run(trained_folder / "runs" / "alexnet-cifar-shapes", run)
    steps = sorted((run / "checkpoints").iterdir(), key=lambda path: int(path.name[5:]))
    shutil.rmtree(steps[-1])  # so that there is something left to train
    with FileLock(run / ".lock"):
        result = alexnet("train", "--resume", run)
    assert result.returncode == 1
    assert "another process" in result.stderr


def start(command: str, run: Path, isolated: Path) -> subprocess.Popen[str]:
    """Start `evaluate` or `export`; all that it writes is below `isolated`."""
    output = ["--output", isolated / "out"] if command == "export" else []
    return subprocess.Popen(
        [sys.executable, "-m", "alexnet_cli", command, run, "--json", *output],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(isolated)},
    )  # fmt: skip


def check_that_nothing_is_left(process: subprocess.Popen[str], isolated: Path) -> None:
    """Check what a process says that got SIGINT, and the folder that it wrote to."""
    stdout, stderr = process.communicate(timeout=200)
    if process.returncode == 130:
        assert json.loads(stderr.splitlines()[-1])["error"]["code"] == "interrupted"
        assert [path.name for path in isolated.rglob("*") if path.is_file()] == []
    else:  # it was faster, and may have been on its way out of the interpreter already
        assert process.returncode in (0, -signal.SIGINT)
        assert json.loads(stdout)


def test_ctrl_c_while_a_file_is_written_is_130_and_leaves_nothing(
    trained_folder: Path, isolated: Path
) -> None:
    process = start("export", trained_folder / "runs" / "alexnet-cifar-shapes", isolated)
    # In the folder itself Python's tempfile tries out for a moment whether it can write.
    wait_until(lambda: any(path.is_file() for path in isolated.glob("*/*")), process)
    process.send_signal(signal.SIGINT)
    check_that_nothing_is_left(process, isolated)


@pytest.mark.slow
@pytest.mark.parametrize("delay_seconds", [0.8, 1.5, 3.0])
@pytest.mark.parametrize("command", ["evaluate", "export"])
def test_ctrl_c_at_any_time_is_130_and_leaves_nothing(
    command: str, delay_seconds: float, trained_folder: Path, isolated: Path
) -> None:
    process = start(command, trained_folder / "runs" / "alexnet-cifar-shapes", isolated)
    time.sleep(delay_seconds)
    process.send_signal(signal.SIGINT)
    check_that_nothing_is_left(process, isolated)
