import json

import numpy as np
import pytest

from alexnet_cli.cli.evaluate import command
from alexnet_cli.errors import DataError, UsageError
from tests.made_runs import make_images

CLASSES = ("ant", "bee", "cat", "dog", "élan")


def test_without_a_test_split_the_hint_names_the_same_model(exported, isolated):
    model, data = exported.whole / "model.onnx", isolated / "my photos"
    make_images(data / "train", CLASSES, per_class=1)
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
    make_images(isolated / "photos", classes, per_class=1)
    with pytest.raises(UsageError, match="not classes of") as caught:
        command([exported.whole / "model.onnx"], data="photos", device="cpu", quiet=True)
    assert caught.value.message.endswith(words)


@pytest.fixture
def noisy(isolated):
    """A folder of images of noise, with a test split."""
    for split in ("train", "test"):
        make_images(isolated / "photos" / split, CLASSES, per_class=4, side=21)
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
    with pytest.raises(UsageError, match="--csv does not go with"):
        command([exported.whole / "model.onnx"], data=noisy, corrupt="all", csv=True)


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
