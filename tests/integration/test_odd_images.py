"""One set of odd images has the same answers from `predict`, `evaluate`, the API and the examples.

tests/browser compares the web page with `predict`.
"""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet_cli.inference import Classifier
from tests.integration.conftest import RUN

_EXAMPLES = Path(__file__).parents[2] / "examples"


def write_odd_images(folder):
    noise = np.random.default_rng(6).integers(0, 256, (20, 30, 4), np.uint8)
    colour, alpha, grey = noise[..., :3], noise[..., 3], noise[..., 0]
    folder.mkdir(parents=True)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(colour).save(folder / "turned.png", exif=turned)
    Image.fromarray(colour // 64).save(folder / "turned.jpg", exif=turned, quality=95)
    Image.fromarray(noise).save(folder / "transparent.png")
    Image.fromarray(np.stack([grey, alpha], axis=2)).save(folder / "transparent-grey.png")
    Image.fromarray(colour).quantize(16).save(folder / "palette.png", transparency=3)
    Image.fromarray(grey.astype(np.uint16) * 200).save(folder / "grey-16.png")
    Image.fromarray(colour).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(grey > 127).save(folder / "bits.tif")
    return sorted(map(str, folder.iterdir()))


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
