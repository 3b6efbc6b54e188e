"""A small run that several tests look at."""

import contextlib
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import made_once, run_here
from tests.made_runs import draw_tinted, make_tinted


@pytest.fixture(scope="session")
def tinted(every_worker: Path) -> Path:
    """A folder of images that are quickly learned."""
    return made_once(every_worker / "tinted", lambda folder: make_tinted(folder / "shapes")) / (
        "shapes"
    )


@pytest.fixture(scope="session")
def small(tinted: Path) -> tuple[str, ...]:
    """Options of `train`: eight updates an epoch, in the same bytes on every processor."""
    sizes = ("--image-size", "12", "--crop-size", "8", "--val-size", "20", "--batch-size", "10")
    return ("--data", str(tinted), *sizes, "--precision", "fp32")


@pytest.fixture(scope="session")
def trained_folder(every_worker: Path, small: tuple[str, ...]) -> Path:
    """A folder with one tiny trained run, exported in both formats, and a few PNG files.

    All workers read it, so a test that writes needs `copy_run`.
    """

    def make(folder: Path) -> None:
        with contextlib.chdir(folder):
            run_here("train", *small, "--epochs", "2", "--plots")
            run_here("export", "--format", "all")
        images, _ = draw_tinted(3, seed=5)
        for index, image in enumerate(images):
            Image.fromarray(image).save(folder / f"{index}.png")

    return made_once(every_worker / "trained", make)
