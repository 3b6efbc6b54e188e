"""Plots at the end of training."""

from pathlib import Path

from PIL import Image

from tests.conftest import Run

PLOTS = ("metrics.png", "confusion.png", "filters.png")


def test_train_leaves_plots(trained_folder: Path) -> None:
    (run,) = (trained_folder / "runs").iterdir()
    for name in PLOTS:
        with Image.open(run / name) as image:
            image.load()
            assert min(image.size) > 300


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
