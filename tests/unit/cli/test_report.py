import json
import shutil
from pathlib import Path

import pytest

from tests.made_runs import HISTORY, make_images, make_run

PLOTS = {"metrics.png", "confusion.png", "filters.png"}


@pytest.fixture
def run(isolated):
    """A run in `runs/` of the working folder."""
    return make_run(Path("runs/run"), make_images(isolated / "photos", ("a", "b"), per_class=16))


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_the_newest_run_gets_a_page_and_plots(alexnet, run):
    result = alexnet("report", "--device", "cpu")
    assert (result.returncode, result.stdout) == (0, "runs/run/report.html\n"), result.stderr
    assert "reporting runs/run/checkpoints/step-2 with cpu" in result.stderr
    assert names(run) >= {"report.html", *PLOTS}


def test_a_page_elsewhere_is_the_same_and_comes_without_plots(alexnet, run):
    assert alexnet("report", "--quiet").returncode == 0
    for name in PLOTS:
        (run / name).unlink()
    result = alexnet("report", run, "-o", "pages/page.html", "--json", "-q")
    assert json.loads(result.stdout) == {"path": "pages/page.html", "plots": []}
    assert result.stderr == ""
    assert Path("pages/page.html").read_bytes() == (run / "report.html").read_bytes()
    assert names(run).isdisjoint(PLOTS)


def test_two_runs_make_one_page(alexnet, run):
    shutil.copytree(run, "runs/other")
    result = alexnet("report", run, "runs/other", "--quiet")
    assert (result.returncode, result.stdout) == (0, "report.html\n"), result.stderr
    assert "Comparison of 2 runs" in Path("report.html").read_text()
    assert names(run).isdisjoint(PLOTS)


def test_a_run_that_is_still_training(alexnet, run):
    young = make_run(Path("runs/young"), Path("photos"), history=HISTORY[:1])
    (young / "checkpoints" / "step-2").mkdir()  # being written
    (young / "metrics.csv").write_text("epoch,lear")
    result = alexnet("report", young, "-q")
    assert result.returncode == 0, result.stderr
    assert "1 of 3: not finished" in (young / "report.html").read_text()


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("7 runs are too many for one page", ["runs/run"] * 7),
        ("runs is a folder", ["runs/run", "-o", "runs"]),
        ("cuda:99", ["runs/run", "--device", "cuda:99"]),
        ("cannot write", ["runs/run", "-o", "photos/a/0.png/page.html"]),
    ],
)
def test_errors_have_a_message_and_a_hint(alexnet, run, message, arguments):
    result = alexnet("report", *arguments)
    assert result.returncode in (1, 2)
    assert message in result.stderr
    assert "\nhint: " in result.stderr
    assert result.stdout == ""
