"""Prediction in an environment that has what docs/deployment.md installs, and nothing else."""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from PIL import Image

from alexnet_cli.inference.gpu_check import onnxruntime_wheels

_ROOT = Path(__file__).parents[2]
_REQUIREMENTS = _ROOT / "examples/deploy/requirements-predict.txt"


def with_dependencies(names):
    """Return distributions and all they need, extras left out."""
    found, waiting = {}, list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name] = importlib.metadata.distribution(name)
        for text in found[name].requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found.values()


def test_predict_needs_no_more(tmp_path, exported):
    packages = tmp_path / "packages"
    packages.mkdir()
    listed = [Requirement(line).name for line in _REQUIREMENTS.read_text().splitlines()
              if not line.startswith("#")]  # fmt: skip
    listed.remove("onnxruntime")
    for distribution in with_dependencies([*listed, *onnxruntime_wheels()]):
        for top in {file.parts[0] for file in distribution.files} - {".."}:
            link = packages / top
            if not link.exists():
                link.symlink_to(distribution.locate_file(top))
    assert not (packages / "torch").exists()
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "img.png")
    model = exported.whole / "model.onnx"
    for arguments in (["img.png", "-m", model], [".", "--csv", "--top-k", "1", "-m", model]):
        done = subprocess.run(
            [sys.executable, "-S", "-m", "alexnet_cli", "predict", *arguments],
            cwd=tmp_path, capture_output=True, text=True, check=False,
            env={"PYTHONPATH": f"{_ROOT / 'src'}:{packages}", "HOME": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "img.png" in done.stdout


@pytest.mark.slow
def test_installed_anew(tmp_path, exported, trained_folder):
    def call(*command):
        environment = {name: os.environ[name] for name in os.environ if name != "PYTHONPATH"}
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False,
                              env=environment)  # fmt: skip

    scripts = tmp_path / "venv/bin"
    for command in (
        (sys.executable, "-m", "venv", "venv"),
        (scripts / "pip", "install", "-q", "-r", _REQUIREMENTS),
        (scripts / "pip", "install", "-q", "--no-deps", _ROOT),
    ):
        done = call(*command)
        assert done.returncode == 0, done.stderr
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "img.png")
    alexnet = scripts / "alexnet"
    answer = call(alexnet, "predict", "img.png", "-m", exported.whole / "model.onnx")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(call(alexnet, "models", "--json").stdout)[0]["num_parameters"] is None
    findings = json.loads(call(alexnet, "doctor", "--json").stdout)["findings"]
    assert any("torch" in each["cause"] for each in findings)
    run = trained_folder / "runs" / "alexnet-cifar-shapes"
    for line in ("train --data shapes", f"evaluate {run}", f"export {run} -o {tmp_path}/a.onnx",
                 f"report {run}", "explain", "demo"):  # fmt: skip
        done = call(alexnet, *line.split())
        assert done.returncode == 1
        assert "not installed" in done.stderr, line
