"""The files of examples/deploy, as far as they run without containers and clusters."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

_ROOT = Path(__file__).parents[2]
_DEPLOY = _ROOT / "examples" / "deploy"
_BEGIN = ["train", "--epochs", "90", "--batch-size", "128", "--name", "cifar90"]


def plant(folder, name, script):
    """Put a program into a folder of programs."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path):
    """Stand-ins for Slurm's programs and for alexnet, which write down how they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    plant(folder, "srun", 'exec "$@"')
    plant(folder, "scontrol", 'echo "scontrol $*" >> calls')
    plant(folder, "alexnet", 'echo "$*" >> calls; exit ${STATUS:-0}')
    return folder


def run(command, programs, tmp_path, **variables):
    path = f"{programs}:{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PATH": path} | variables, check=False
    )
    return done.returncode, (tmp_path / "calls").read_text().splitlines()


def save(tmp_path):
    checkpoint = tmp_path / "runs" / "cifar90" / "checkpoints" / "step-3"
    checkpoint.mkdir(parents=True)
    (checkpoint / "state.json").write_text("{}")


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_slurm_begins_then_goes_on_and_is_put_back_when_it_was_stopped(programs, tmp_path):
    script = ["bash", str(_DEPLOY / "train.slurm")]
    slurm = {"SLURM_JOB_ID": "7", "SLURM_GPUS_ON_NODE": "4"}
    status, calls = run(script, programs, tmp_path, **slurm, STATUS="143")
    assert status == 143
    assert calls == [" ".join([*_BEGIN, "--processes 4 --max-restarts 2"]), "scontrol requeue 7"]
    save(tmp_path)
    status, calls = run(script, programs, tmp_path, **slurm)
    assert (status, len(calls)) == (0, 3)
    assert calls[2] == "train --resume runs/cifar90 --processes 4 --max-restarts 2"


def test_the_job_of_kubernetes_begins_then_goes_on(programs, tmp_path):
    job = yaml.safe_load((_DEPLOY / "train-job.yaml").read_text())
    (container,) = job["spec"]["template"]["spec"]["containers"]
    command = [*container["command"], *container["args"]]
    assert run(command, programs, tmp_path) == (0, [" ".join(_BEGIN)])
    save(tmp_path)
    assert run(command, programs, tmp_path)[1][1] == "train --resume runs/cifar90"


@pytest.mark.parametrize("name", ["Dockerfile", "predict.Dockerfile"])
def test_a_container_copies_what_there_is(name):
    text = (_DEPLOY / name).read_text()
    for sources in re.findall(r"^COPY (.*) /src", text, re.MULTILINE):
        assert all((_ROOT / source).exists() for source in sources.split())
    assert f"-f examples/deploy/{name} ." in text
