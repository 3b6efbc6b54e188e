"""The tutorial's commands, in its order, in an empty folder; and what other pages show."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

_DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run(folder, language, block):
    """Run a block as a reader would, with the program that is tested."""
    if language == "python":
        return subprocess.run(
            [sys.executable, "-c", block], cwd=folder, capture_output=True, text=True, check=False
        )
    outputs = []
    for line in block.splitlines():
        name, *arguments = line.split()
        assert name == "alexnet"
        done = subprocess.run(
            [sys.executable, "-m", "alexnet_cli", *arguments],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        outputs.append(done)
        if done.returncode:
            break
    return outputs[-1]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_block_of_the_tutorial_runs(tmp_path):
    blocks = _BLOCK.findall((_DOCS / "tutorial.md").read_text(encoding="utf-8"))
    assert len(blocks) > 8
    printed = ""
    for language, block in blocks:
        done = run(tmp_path, language, block)
        assert done.returncode == 0, f"{block}\n{done.stderr}"
        printed += done.stdout
    assert "ClassProbability(name=" in printed
    assert (tmp_path / "shapes-train.png").is_file()
    assert (tmp_path / "runs" / "own" / "model.onnx").is_file()


def test_the_site_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=_DOCS.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "fonts.googleapis" not in page
