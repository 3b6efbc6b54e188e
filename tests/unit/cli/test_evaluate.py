import pytest
from PIL import Image

from alexnet_cli.cli.evaluate import command
from alexnet_cli.errors import DataError, UsageError

CLASSES = ("ant", "bee", "cat", "dog", "élan")


def draw(folder, classes):
    for name in classes:
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (20, 20)).save(folder / name / "1.png")
    return folder


def test_without_a_test_split_the_hint_names_the_same_model(exported, isolated):
    model, data = exported.whole / "model.onnx", draw(isolated / "my photos", CLASSES)
    with pytest.raises(DataError, match="no test split") as caught:
        command(model, data=str(data), device="cpu", quiet=True)
    expected = f"alexnet evaluate {model} --data '{data}' --split val"
    assert caught.value.hint.endswith(expected)


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (("ant", "bee", "cat", "fox"), "it lacks dog, élan; it also has fox"),
        (("ant", "bee", "cat", "dog", "élan", "fox"), "it also has fox"),
        (("a", "b", "c", "d", "e", "f", "g"), "it also has a, b, c, d, e and 2 more"),
    ],
)
def test_classes_that_differ_are_named(exported, isolated, classes, words):
    draw(isolated / "photos", classes)
    with pytest.raises(UsageError, match="other classes") as caught:
        command(exported.whole / "model.onnx", data="photos", device="cpu", quiet=True)
    assert caught.value.message.endswith(words)
