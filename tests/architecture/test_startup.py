"""What a user waits on never loads PyTorch."""

import json
import os
import statistics
import subprocess
import sys
import time

import pytest

_HEAVY = ("torch", "torchvision", "onnx", "onnxruntime", "matplotlib", "jinja2")


_COMMANDS = (
    "--help",
    "--version",
    "train --help",
    "predict --help",
    "config",
    "config --schema",
    "config --toml",
    "report --help",
    "download --data shapes",
    "data",
    "data --help",
    "data verify",
    "data show --data shapes --count 1",
)
# Each command in a fork of a process that has nothing but the beginning of each.
_SCRIPT = """
import json, os, sys
from pathlib import Path
import alexnet_cli.cli.app
from alexnet_cli.cli.main import run
for number, words in enumerate(sys.argv[1:]):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = run(words.split())
        finally:
            Path(f"{number}.json").write_text(json.dumps(list(sys.modules)))
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0, words
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """The modules that each command has loaded at its end."""
    folder = tmp_path_factory.mktemp("modules")
    environment = {**os.environ, "ALEXNET_HOME": str(folder / "cache")}
    subprocess.run([sys.executable, "-c", _SCRIPT, *_COMMANDS], cwd=folder, env=environment,
                   capture_output=True, check=True)  # fmt: skip
    return {
        words: set(json.loads((folder / f"{number}.json").read_text()))
        for number, words in enumerate(_COMMANDS)
    }


@pytest.mark.parametrize("words", _COMMANDS)
def test_heavy_libraries_stay_out(words, loaded):
    assert "alexnet_cli.cli.app" in loaded[words]
    assert loaded[words].isdisjoint(_HEAVY)


@pytest.mark.parametrize("arguments", [[], ["--data", "photos"], ["--data", "nowhere"]], ids=str)
def test_training_without_images_ends_before_torch_is_imported(arguments, isolated):
    (isolated / "photos" / "cat").mkdir(parents=True)
    script = f"""import sys
from alexnet_cli.cli.main import run
assert run({["train", *arguments]}) in (1, 2)
assert "torch" not in sys.modules"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.alone
@pytest.mark.parametrize("arguments", [("--help",), ("train", "--help")])
def test_help_is_quick(arguments):
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "alexnet_cli", *arguments], capture_output=True, check=True
        )
        seconds.append(time.perf_counter() - begin)
    # The promise is 0.3 s; the margin is for busy machines.
    assert statistics.median(seconds) < 0.9
