"""`alexnet evaluate`: several models on the same images, and every form of output."""

import contextlib
import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from tests.conftest import Run, run_here
from tests.made_runs import copy_run

_FIRST, _SECOND = Path("runs/alexnet-cifar-shapes"), Path("runs/second")
_NUM_IMAGES = 60


@pytest.fixture(scope="module")
def two_runs(
    trained_folder: Path, small: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The run of `trained_folder`, exported, and one of other crops and another seed."""
    folder = copy_run(trained_folder, tmp_path_factory.mktemp("two"))
    with contextlib.chdir(folder):
        other = ("--crop-size", "10", "--seed", "4", "--epochs", "2", "--name", "second")
        run_here("train", *small, *other, "--no-plots")
    return folder


@pytest.fixture
def work(two_runs: Path, isolated: Path) -> Path:
    """A copy as the working folder."""
    return copy_run(two_runs, isolated)


def test_runs_and_exports_are_compared_on_the_same_images(work: Path, alexnet: Run) -> None:
    models = (_FIRST, _FIRST / "model.onnx", _SECOND, _FIRST / "model.safetensors")
    result = alexnet("evaluate", *models, "--json", "--predictions", "answers.csv")
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert [model["num_images"] for model in document["models"]] == [_NUM_IMAGES] * 4
    exported, second, again = document["comparisons"]
    for same in (exported, again):  # the run's own exports answer as it does
        assert same["only_first"] == same["only_second"] == 0
        assert (same["p_value"], same["significant"]) == (1, False)

    with Path("answers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * _NUM_IMAGES
    right = {}
    for model in document["models"]:
        own = [row for row in rows if row["model"] == model["model"]]
        truth, prediction = ([row[name] for row in own] for name in ("truth", "prediction"))
        assert accuracy_score(truth, prediction) == pytest.approx(model["top1"], abs=1e-12)
        classes = sorted(set(truth))
        probabilities = [[float(row[f"p_{name}"]) for name in classes] for row in own]
        expected = log_loss(truth, np.array(probabilities), labels=classes)
        assert model["loss"] == pytest.approx(expected, rel=1e-12)
        right[model["model"]] = np.array(truth) == np.array(prediction)
    first, other = right[second["first"]], right[second["second"]]
    assert second["only_first"] == (first & ~other).sum()
    assert second["only_second"] == (other & ~first).sum() > 0
    assert second["difference"] == pytest.approx(other.mean() - first.mean())


def test_words_and_csv_say_the_same(work: Path, alexnet: Run) -> None:
    printed = alexnet("evaluate", _FIRST, _SECOND)
    assert printed.returncode == 0, printed.stderr
    assert "only A right: " in printed.stdout
    assert printed.stderr.count("evaluating ") == 2
    table = alexnet("evaluate", _FIRST, _SECOND, "--csv", "--quiet")
    first, second = csv.DictReader(io.StringIO(table.stdout))
    assert f"only A right: {int(second['only_first_right']):,};" in printed.stdout
    assert f"{float(first['top1']):.2%}" in printed.stdout
    is_shown, is_less = float(second["p_value"]) < 0.05, float(second["difference"]) < 0
    verdict = "A is better than B" if is_less else "B is better than A"
    assert (verdict if is_shown else "no difference between A and B shown") in printed.stdout
    assert table.stderr == ""


def test_one_model_has_its_classes_as_csv_and_its_answers_as_json_lines(
    work: Path, alexnet: Run
) -> None:
    run = ("evaluate", _SECOND / "checkpoints")  # no checkpoint itself
    assert alexnet(*run, "--predictions", "answers.jsonl").returncode == 1
    assert not Path("answers.jsonl").exists()
    result = alexnet("evaluate", _SECOND, "--csv", "--predictions", "answers.jsonl", "-q")
    assert result.returncode == 0, result.stderr
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    lines = [json.loads(line) for line in Path("answers.jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines] == list(range(_NUM_IMAGES))
    for row in rows:
        own = [line for line in lines if line["truth"] == row["class"]]
        found = sum(line["prediction"] == row["class"] for line in own)
        assert int(row["images"]) == len(own)
        assert float(row["recall"]) == pytest.approx(found / len(own))
    for line in lines:
        assert line["prediction"] == max(line["probabilities"], key=line["probabilities"].get)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--csv", "--json"), "two forms of one output"),
        ((_FIRST, _SECOND, "--corrupt", "all"), "measures one model"),
        ((_FIRST, "--corrupt", "all", "--csv"), "--csv does not go with"),
        (("--corrupt", "all", "--predictions", "a.csv"), "--predictions does not go with"),
        (("--predictions", "answers.xml"), ".csv or .jsonl"),
        (("--predictions", "runs"), "runs is a folder"),
        ((_FIRST, _SECOND, "--split", "val"), "held out the same images"),
        ([_FIRST] * 27, "27 models"),
    ],
    ids=["csv-json", "all-two", "all-csv", "all-file", "suffix", "folder", "val", "many"],
)
def test_what_does_not_go_together_is_refused(
    arguments: tuple[str, ...], words: str, work: Path, alexnet: Run
) -> None:
    result = alexnet("evaluate", *arguments)
    assert result.returncode == 2
    assert words in result.stderr
    assert result.stdout == ""
