"""Running the command as a user does: in a process of its own, in an empty folder."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

# Tiny on purpose: an epoch of 1,000 images of 8 px takes about a second.
TINY = ("--data", "shapes", "--image-size", "12", "--crop-size", "8", "--val-size", "9000")


@pytest.fixture
def alexnet() -> Run:
    """Run `alexnet` with these arguments in the current folder."""

    def run(
        *arguments: str | Path, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "alexnet_cli", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
            env={**os.environ, "COLUMNS": "120", **(env or {})},
        )

    return run


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one tiny trained run, exported in both formats, and a few PNG files."""
    from PIL import Image

    from alexnet_cli.data import shapes

    folder = tmp_path_factory.mktemp("trained")
    for arguments in (("train", *TINY, "--epochs", "2"), ("export", "--format", "all")):
        result = subprocess.run(
            [sys.executable, "-m", "alexnet_cli", *arguments],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
    images, _ = shapes.draw_shapes(3, seed=5)
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index}.png")
    return folder
