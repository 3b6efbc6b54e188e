"""A small run that several tests look at."""

import contextlib
import json
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import made_once, run_here
from tests.made_runs import copy_run, draw_tinted, make_tinted

RUN = Path("runs/alexnet-cifar-shapes")  # of `trained_folder`


@pytest.fixture(scope="session")
def tinted(every_worker):
    """A folder of images that are quickly learned."""
    return made_once(every_worker / "tinted", lambda folder: make_tinted(folder / "shapes")) / (
        "shapes"
    )


@pytest.fixture(scope="session")
def small(tinted):
    """Options of `train`: eight updates an epoch, in the same bytes on every processor."""
    sizes = ("--image-size", "12", "--crop-size", "8", "--val-size", "20", "--batch-size", "10")
    return ("--data", str(tinted), *sizes, "--precision", "fp32")


@pytest.fixture(scope="session")
def trained_folder(every_worker, small):
    """A folder with one tiny trained run, exported in both formats, and a few PNG files.

    All workers read it, so a test that writes needs `copy_run`.
    """

    def make(folder):
        with contextlib.chdir(folder):
            run_here("train", *small, "--epochs", "2", "--plots")
            run_here("export", "--format", "all")
        images, _ = draw_tinted(3, seed=5)
        for index, image in enumerate(images):
            Image.fromarray(image).save(folder / f"{index}.png")

    return made_once(every_worker / "trained", make)


@pytest.fixture
def work(trained_folder, isolated):
    """A copy of `trained_folder` as the working folder."""
    return copy_run(trained_folder, isolated)


@pytest.fixture
def succeed(alexnet):
    """Run `alexnet`, which must succeed."""

    def run(*arguments, **options):
        result = alexnet(*arguments, **options)
        assert result.returncode == 0, result.stderr
        return result

    return run


@pytest.fixture
def json_of(succeed):
    """Run `alexnet … --json`, which must succeed, and return the document that it prints."""
    return lambda *arguments: json.loads(succeed(*arguments, "--json").stdout)


@pytest.fixture
def confusion_of(json_of):
    """Evaluate a model, the newest run without one, and return its confusion matrix."""
    return lambda *arguments: json_of("evaluate", *arguments, "--device", "cpu")["confusion"]
