"""One set of odd images has the same answers from `predict`, `evaluate`, the API and the examples.

tests/browser compares the pixels that the web page gives to the network.
"""

import json
import runpy
import sys
from pathlib import Path

import pytest

from alexnet_cli.inference import Classifier
from tests.integration.conftest import RUN
from tests.odd_images import write_odd_images

_EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def odd(work, alexnet):
    """The images, and what `predict` answers to each: class and probability."""
    paths = write_odd_images(work / "odd" / "circle")
    lines = alexnet("predict", *paths, "--model", RUN / "model.onnx", "--json").stdout.splitlines()
    answers = [json.loads(line) for line in lines]
    assert [answer["file"] for answer in answers] == paths
    return {each["file"]: (each["class"], each["probability"]) for each in answers}


def near(probability):
    return pytest.approx(probability, abs=1e-6)


def test_the_api(odd):
    classify = Classifier(RUN / "model.onnx")
    for path, (name, probability) in odd.items():
        best = classify(path)[0].top[0]
        assert (best.name, best.probability) == (name, near(probability)), path


def test_evaluate(odd, succeed):
    succeed("evaluate", RUN / "model.onnx", "--data", "odd", "--predictions", "answers.jsonl")
    rows = [json.loads(line) for line in Path("answers.jsonl").read_text().splitlines()]
    assert len(rows) == len(odd)
    for row in rows:
        name, probability = odd[row["file"]]
        assert row["prediction"] == name
        assert max(row["probabilities"].values()) == near(probability), row["file"]


@pytest.mark.parametrize(
    ("example", "file"),
    [("predict_with_onnxruntime", "model.onnx"), ("predict_with_torch", "model.safetensors")],
)
def test_an_example(example, file, odd, monkeypatch, capfd):
    for path, (name, probability) in odd.items():
        monkeypatch.setattr(sys, "argv", [example, str(RUN / file), path])
        capfd.readouterr()
        runpy.run_path(str(_EXAMPLES / f"{example}.py"), run_name="__main__")
        answer = json.loads(capfd.readouterr().out)
        assert (answer["class"], answer["probability"]) == (name, near(probability)), path
