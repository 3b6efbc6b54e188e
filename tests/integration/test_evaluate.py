"""`alexnet evaluate`: several models on the same images, and every form of output."""

import contextlib
import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from tests.conftest import run_here
from tests.integration.conftest import RUN
from tests.made_runs import copy_run

_SECOND = Path("runs/second")
_NUM_IMAGES = 60


@pytest.fixture(scope="module")
def two_runs(trained_folder, small, tmp_path_factory):
    """The run of `trained_folder`, exported, and one of other crops and another seed."""
    folder = copy_run(trained_folder, tmp_path_factory.mktemp("two"))
    with contextlib.chdir(folder):
        other = ("--crop-size", "10", "--seed", "4", "--epochs", "2", "--name", "second")
        run_here("train", *small, *other, "--no-plots")
    return folder


@pytest.fixture
def work(two_runs, isolated):
    """A copy as the working folder."""
    return copy_run(two_runs, isolated)


def test_runs_and_exports_are_compared_on_the_same_images(work, json_of):
    models = (RUN, RUN / "model.onnx", _SECOND, RUN / "model.safetensors")
    document = json_of("evaluate", *models, "--predictions", "answers.csv")
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


def test_one_model_has_its_classes_as_csv_and_its_answers_as_json_lines(work, succeed):
    result = succeed("evaluate", _SECOND, "--csv", "--predictions", "answers.jsonl", "-q")
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
