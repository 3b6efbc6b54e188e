import json

import numpy as np
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
    model, data = exported.whole / "model.onnx", isolated / "my photos"
    draw(data / "train", CLASSES)
    with pytest.raises(DataError, match="no test split") as caught:
        command([model], data=str(data), device="cpu", quiet=True)
    expected = f"alexnet evaluate {model} --data '{data}' --split val"
    assert caught.value.hint.endswith(expected)


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (("ant", "bee", "cat", "fox"), ": fox"),
        (("a", "b", "c", "d", "e", "f", "g"), ": a, b, c, d, e and 2 more"),
    ],
)
def test_folders_that_are_no_classes_are_named(exported, isolated, classes, words):
    draw(isolated / "photos", classes)
    with pytest.raises(UsageError, match="no classes of") as caught:
        command([exported.whole / "model.onnx"], data="photos", device="cpu", quiet=True)
    assert caught.value.message.endswith(words)


@pytest.fixture
def noisy(isolated):
    """A folder of odd-sized images of noise, with a test split."""
    for split, seed in (("train", 1), ("test", 2)):
        for index, name in enumerate(CLASSES):
            path = isolated / "photos" / split / name
            path.mkdir(parents=True)
            for number in range(4):
                random = np.random.default_rng([seed, index, number])
                pixels = random.integers(0, 256, (20 + number, 31, 3), np.uint8)
                Image.fromarray(pixels).save(path / f"{number}.png")
    return "photos"


def test_all_corruptions_of_a_folder_are_each_one_by_one(exported, noisy, capsys):
    def measured(corrupt):
        command(
            [exported.whole / "model.onnx"], data=noisy, device="cpu", corrupt=corrupt, json=True
        )
        return json.loads(capsys.readouterr().out)

    whole = measured("all")
    rows = {row["corruption"]: row for row in whole["corruptions"]}
    assert len(rows) == 20
    assert whole["mean_corrupted_top1"] == pytest.approx(
        np.mean([row["top1"] for row in rows.values()])
    )
    clean, one = measured(None), measured("blur:5")
    assert clean["corruption"] is None
    assert whole["clean"] == {name: clean[name] for name in whole["clean"]}
    assert {name: one[name] for name in rows["blur:5"]} == rows["blur:5"]
    assert one["loss"] != clean["loss"]


def test_table_and_title_say_what_was_done(exported, noisy, capsys):
    def printed(corrupt, quiet):
        command(
            [exported.whole / "model.onnx"], data=noisy, device="cpu", corrupt=corrupt, quiet=quiet
        )
        return capsys.readouterr()

    assert "photos test with contrast:2, 20 images" in " ".join(
        printed("contrast:2", quiet=True).out.split()
    )
    whole = printed("all", quiet=False)
    for word in ("noise", "blur", "jpeg", "contrast", "clean: top-1", "95 %", "mean of the 20"):
        assert word in whole.out
    assert "jpeg:4: top-1" in whole.err
    assert "top-1" not in printed("all", quiet=True).err
