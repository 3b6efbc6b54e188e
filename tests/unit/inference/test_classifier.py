import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet_cli.errors import AlexnetError
from alexnet_cli.inference import Classifier


@pytest.fixture(scope="module")
def classify(exported):
    return Classifier(exported.whole / "model.onnx", device="cpu", top_k=2)


def test_every_kind_of_image_has_the_same_answer(classify, paths):
    path = paths[0]
    pixels = np.asarray(Image.open(path))
    answers = classify([path, str(path), path.read_bytes(), pixels, Image.open(path)])
    assert len({answer.top for answer in answers}) == 1
    assert [answer.source for answer in answers] == [str(path), str(path), "#2", "#3", "#4"]
    (one,) = classify(pixels)
    assert one.best.index == answers[0].best.index
    assert one.best.name == classify.classes[one.best.index]


def test_an_array_of_images_and_a_generator(classify, paths):
    images = np.random.default_rng(0).integers(0, 256, (3, 12, 12, 3), np.uint8)
    assert [p.source for p in classify(images)] == ["#0", "#1", "#2"]
    assert [p.source for p in classify(path for path in paths)] == [str(path) for path in paths]
    assert classify([]) == []
    assert next(classify.stream(iter(paths))).source == str(paths[0])


@pytest.mark.parametrize("mode", ["RGBA", "L", "I;16", "P", "1"])
def test_images_of_any_mode(classify, mode):
    (found,) = classify(Image.new(mode, (20, 30)))
    assert found.error is None


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((9, 9, 3)),
        np.zeros((9, 9, 4), np.uint8),
        np.zeros((0, 9, 3), np.uint8),
        np.zeros(9, np.uint8),
        np.zeros((9, 9), bool),
        Image.new("RGB", (0, 9)),
        b"no image",
    ],
    ids=["float", "alpha", "empty", "line", "bool", "empty PIL", "bytes"],
)
def test_what_is_no_image_is_an_error_of_its_own(classify, image):
    broken, whole = classify([image, np.zeros((9, 9), np.uint8)])
    assert broken.error.code == "image_unreadable"
    assert "#0" in broken.error.message
    assert whole.error is None


def test_what_is_no_kind_of_image_is_a_type_error(classify):
    with pytest.raises(TypeError, match="#1 is of type int"):
        classify([np.zeros((9, 9), np.uint8), 7])


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(AlexnetError, match="no such model"):
        Classifier(tmp_path / "x.onnx")


def test_a_folder_with_a_model(exported):
    assert Classifier(exported.whole).provider.endswith("ExecutionProvider")


def test_importing_the_package_is_light():
    script = "import sys, alexnet_cli.inference; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"numpy", "PIL", "onnxruntime", "torch", "typer", "pydantic"} & set(loaded)


def test_the_classifier_needs_no_torch(exported, paths):
    script = (
        "import sys; from alexnet_cli.inference import Classifier\n"
        f"Classifier({str(exported.whole)!r})([{str(paths[0])!r}]); print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "onnx", "typer", "pydantic", "alexnet_cli.data"} & set(loaded)


def test_its_names_are_the_interface():
    import alexnet_cli.inference

    assert {name: getattr(alexnet_cli.inference, name) for name in alexnet_cli.inference.__all__}
    with pytest.raises(AttributeError):
        _ = alexnet_cli.inference.nothing
    assert Path(alexnet_cli.inference.__file__).is_file()
