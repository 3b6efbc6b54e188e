"""Plots at the end of training, and the report."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import Run
from tests.made_runs import copy_run

PLOTS = ("metrics.png", "confusion.png", "filters.png")


@pytest.fixture(scope="module")
def trained(trained_folder: Path) -> Path:
    return next((trained_folder / "runs").iterdir())


@pytest.fixture
def run(trained: Path) -> Path:
    """A copy of a finished run, in `runs/` of the working folder."""
    return copy_run(trained, Path("runs/run"))


def test_train_leaves_plots(trained: Path) -> None:
    for name in PLOTS:
        with Image.open(trained / name) as image:
            image.load()
            assert min(image.size) > 300


def test_a_report_of_the_newest_run_is_the_same_each_time(alexnet: Run, run: Path) -> None:
    for name in PLOTS:
        (run / name).unlink()
    first = alexnet("report", "--device", "cpu")
    assert first.returncode == 0, first.stderr
    assert first.stdout == "runs/run/report.html\n"
    assert "reporting runs/run/checkpoints/step-" in first.stderr
    assert all((run / name).is_file() for name in PLOTS)
    content = (run / "report.html").read_bytes()
    second = alexnet("report", run, "-o", "again.html", "--json", "-q", "--device", "cpu")
    assert json.loads(second.stdout) == {"path": "again.html", "plots": []}
    assert second.stderr == ""
    assert Path("again.html").read_bytes() == content


def test_plots_that_cannot_be_written_do_not_lose_the_run(
    small: tuple[str, ...], alexnet: Run
) -> None:
    blocked = Path("runs/r")
    trained = alexnet("train", *small, "--epochs", "1", "--name", "r", "-q")
    assert trained.returncode == 0, trained.stderr
    assert not (blocked / "metrics.png").exists()  # the tests' environment says so
    (blocked / "metrics.png" / "in the way").mkdir(parents=True)
    again = alexnet("train", "--resume", blocked, "--plots", "-q")
    assert (again.returncode, again.stdout) == (0, "runs/r\n")
    assert "the run is complete, but" in again.stderr
