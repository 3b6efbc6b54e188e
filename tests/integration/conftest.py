"""A small run that several tests look at."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TINY


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
