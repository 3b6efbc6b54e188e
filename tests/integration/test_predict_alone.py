"""Prediction in an environment that has what docs/deployment.md installs, and nothing else."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement
from PIL import Image

from alexnet_cli.inference.gpu_check import onnxruntime_wheels

_SRC = Path(__file__).parents[2] / "src"
_INSTALLED = ("numpy", "pillow", "platformdirs", "rich", "typer")


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
    for distribution in with_dependencies([*_INSTALLED, *onnxruntime_wheels()]):
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
            env={"PYTHONPATH": f"{_SRC}:{packages}", "HOME": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "img.png" in done.stdout
