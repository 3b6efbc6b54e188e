"""Several processes, by torchrun and by `--processes`: real ones, on gloo."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.conftest import TINY

pytestmark = [
    pytest.mark.alone,
    pytest.mark.slow,
    pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores"),
]
_SCRIPT = Path(__file__).with_name("train_in_float64.py")
_TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
_RUN = Path("runs/alexnet-cifar-shapes")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Threads of several processes on few cores wait for each other."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def train_in_float64(name, *, micro_batch_size, prefix=()):
    command = [sys.executable, *prefix, str(_SCRIPT), name, str(micro_batch_size)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert result.returncode == 0, result.stderr
    return Path(name, "checkpoints", "step-20")


def test_two_ranks_end_in_the_weights_of_one():
    one = train_in_float64("one", micro_batch_size=0)
    two = train_in_float64("two", micro_batch_size=5, prefix=_TORCHRUN)
    expected, found = load_file(one / "model.safetensors"), load_file(two / "model.safetensors")
    assert max(float((expected[k] - found[k]).abs().max()) for k in expected) <= 1e-12
    documents = [json.loads((each / "state.json").read_text()) for each in (one, two)]
    assert [d["environment"].get("ranks") for d in documents] == [None, "2"]
    rows = [d["state"]["history"] for d in documents]
    for row, other in zip(*rows, strict=True):
        for key in ("learning_rate", "train_top1", "val_top1"):
            assert row[key] == other[key]
        assert abs(row["train_loss"] - other["train_loss"]) <= 1e-12
        assert abs(row["val_loss"] - other["val_loss"]) <= 1e-6  # evaluation rounds to float32


def test_processes_make_one_run(alexnet_process):
    settings = ("--epochs", "9", "--stop-after", "1", "--lr", "1e-9")  # stops after epoch 2
    result = alexnet_process("train", *TINY, *settings, "--processes", "2")
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{_RUN}\n"
    assert result.stderr.count("epoch 2/9") == 1
    assert result.stderr.count("stopped early") == 1
    assert [path.name for path in Path("runs").iterdir()] == [_RUN.name]
    assert (_RUN / "README.md").is_file()


def test_an_error_of_all_processes_is_told_once(alexnet_process):
    result = alexnet_process("train", *TINY, "--data", "nothing", "--processes", "2")
    assert result.returncode == 2
    assert result.stderr.count("error: ") == 1
    assert "Traceback" not in result.stderr


def test_a_signal_saves_and_ends_all():  # one to a single rank: tests/faults/test_ranks.py
    command = ("train", *TINY, "--epochs", "500", "--processes", "2")
    with subprocess.Popen(
        [sys.executable, "-m", "alexnet_cli", *command],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert any("epoch   1/500" in line for line in process.stderr)
            process.terminate()
            stdout, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 128 + signal.SIGTERM, stderr
    assert stdout == ""
    assert stderr.count("progress saved at step") == 1
    assert stderr.count("interrupted (SIGTERM)") == 1
    assert stderr.count("hint: resume with: alexnet train --resume") == 1
    step = int(stderr.split("progress saved at step ")[1].split()[0])
    assert (_RUN / "checkpoints" / f"step-{step}" / "state.json").is_file()
