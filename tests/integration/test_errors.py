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
from pathlib import Path

import pytest

from alexnet_cli.training.checkpoint import saved_steps
from alexnet_cli.training.ranks import StopRequest
from tests.faults.conftest import wait_until
from tests.integration.conftest import RUN

WEIGHTS = RUN / "checkpoints" / "step-16" / "model.safetensors"  # after the last epoch


def start(*arguments, **options):
    """Start `alexnet` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "alexnet_cli", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def test_ctrl_c_saves_and_the_hint_names_the_command_that_resumes(small):
    run = "runs/cuda-convnet-80sec-shapes"
    process = start("train", *small, "--epochs", "10000", "--model", "cuda-convnet-80sec")
    wait_until(Path(run, "metrics.csv").exists, process, seconds=200)
    process.send_signal(signal.SIGINT)  # tests/faults/test_kills.py sends SIGTERM
    _, stderr = process.communicate(timeout=200)
    assert process.returncode == 130, stderr
    hint = next(line for line in stderr.splitlines() if line.startswith("hint: "))
    assert hint.endswith(f"alexnet train --resume {run}")
    assert saved_steps(Path(run, "checkpoints"))


def test_resume_refuses_another_setting(work, alexnet):
    result = alexnet("train", "--resume", RUN, "--lr", "0.5")
    assert result.returncode == 2
    assert "other settings" in result.stderr


def test_resume_of_a_complete_run_writes_records_lost_to_a_kill_again(work, succeed):
    (RUN / "metrics.json").unlink()
    (RUN / "README.md").unlink()
    result = succeed("train", "--resume", RUN)
    assert "has all its 2 epochs" in result.stderr
    assert result.stdout == f"{RUN}\n"
    assert json.loads((RUN / "metrics.json").read_text())["epochs"] == 2
    assert (RUN / "README.md").is_file()


def test_a_complete_run_is_known_without_pytorch_unless_its_weights_are_damaged(work, succeed):
    code = (
        "import sys; from alexnet_cli.cli.main import run;"
        f"assert run(['train', '--resume', {str(RUN)!r}, '--no-plots']) == 0;"
        "sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{RUN}\n")
    assert "has all its epochs" in done.stderr
    expected = WEIGHTS.read_bytes()
    WEIGHTS.unlink()  # a hard link to the file that all tests share
    WEIGHTS.write_bytes(b"damaged")
    succeed("train", "--resume", RUN)  # from the checkpoint before
    assert WEIGHTS.read_bytes() == expected


def test_a_run_that_grows_ends_as_if_it_had_had_all_epochs_from_the_start(work, small, succeed):
    succeed("train", "--resume", "--epochs", "3")  # the newest
    succeed("train", *small, "--epochs", "3", "--name", "whole")
    for name in ("config.toml", "checkpoints/step-24/model.safetensors"):
        assert (RUN / name).read_bytes() == Path("runs/whole", name).read_bytes()


def test_a_run_that_stopped_early_is_complete_and_may_be_continued(small, isolated, succeed):
    flags = ("--epochs", "5", "--stop-after", "1", "--lr", "1e-9")  # it learns nothing
    for command in (("train", *small, *flags), ("train", "--resume")):
        result = succeed(*command)
        assert result.stdout == f"{RUN}\n"
        assert f"--resume {RUN} --stop-after 0" in result.stderr
        metrics = json.loads((RUN / "metrics.json").read_text())
        assert (metrics["epochs"], metrics["stopped_early"]) == (2, True)
        assert "| epochs | 2 of 5, stopped early" in (RUN / "README.md").read_text()
    (listed,) = json.loads(succeed("runs", "--json").stdout)
    assert (listed["epochs_done"], listed["stopped_early"]) == (2, True)
    succeed("train", "--resume", RUN, "--stop-after", "0")
    metrics = json.loads((RUN / "metrics.json").read_text())
    assert (metrics["epochs"], metrics["stopped_early"]) == (5, False)


def test_a_run_resumes_from_one_of_its_checkpoints(work, succeed):
    expected = WEIGHTS.read_bytes()
    resumed = succeed("train", "--resume", RUN / "checkpoints" / "step-8")
    assert "at step 8" in resumed.stderr
    assert WEIGHTS.read_bytes() == expected


def test_export_never_writes_into_a_checkpoint(work, alexnet):
    before = WEIGHTS.read_bytes()
    own = WEIGHTS.parent
    result = alexnet("export", own, "--format", "safetensors", "--output", own)
    assert result.returncode == 2
    assert WEIGHTS.read_bytes() == before


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.signal_number is None
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.signal_number == signal.SIGTERM
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_in_the_middle_of_a_write_ends_with_its_code_too():
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
run(["config"])
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 130, ended.stderr
    assert ended.stderr.startswith("interrupted")


@pytest.mark.parametrize("style", [(), ("--json",)])
def test_a_fifo_does_not_hang_and_a_strange_name_does_not_stop_the_others(style, work, alexnet):
    os.mkfifo("fifo.png")
    strange = os.fsdecode(b"caf\xe9.png")
    shutil.copy("0.png", strange)
    result = alexnet("predict", "fifo.png", strange, "[red]x.png", *style)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "fifo.png" in result.stderr
    assert "caf" in result.stdout


def test_control_characters_of_file_names_are_escaped(work, alexnet, json_of):
    strange = "a\x1b[31m\nb.png"
    shutil.copy("0.png", strange)
    shown = alexnet("predict", strange, "no\x1b\x07such.png")
    assert r"a\x1b[31m\nb.png" in shown.stdout
    assert shown.stderr.splitlines()[-2] == r"error: no such image: no\x1b\x07such.png"
    assert "\x1b" not in shown.stdout + shown.stderr
    assert json_of("predict", strange)["file"] == strange


@pytest.mark.parametrize(
    ("command", "delay_seconds"),
    [
        ("export", None),  # as soon as a file is being written
        *(
            pytest.param(command, delay, marks=pytest.mark.slow)
            for command in ("evaluate", "export")
            for delay in (0.8, 1.5, 3.0)
        ),
    ],
)
def test_ctrl_c_is_130_and_leaves_nothing(command, delay_seconds, trained_folder, isolated):
    output = ["--output", isolated / "out"] if command == "export" else []
    arguments = (command, trained_folder / RUN, "--json", *output)
    process = start(*arguments, env={**os.environ, "TMPDIR": str(isolated)})
    if delay_seconds is None:
        # In the folder itself Python's tempfile tries out for a moment whether it can write.
        wait_until(
            lambda: any(path.is_file() for path in isolated.glob("*/*")), process, seconds=200
        )
    else:
        time.sleep(delay_seconds)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=200)
    if process.returncode == 130:
        assert json.loads(stderr.splitlines()[-1])["error"]["code"] == "interrupted"
        assert [path.name for path in isolated.rglob("*") if path.is_file()] == []
    else:  # it was faster, and may have been on its way out of the interpreter already
        assert process.returncode in (0, -signal.SIGINT)
        assert json.loads(stdout)
