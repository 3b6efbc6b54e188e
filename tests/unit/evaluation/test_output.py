import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.data.folder import ImageFolder
from alexnet_cli.errors import AlexnetError, UsageError
from alexnet_cli.evaluation.measure import Measured
from alexnet_cli.evaluation.metrics import summarise
from alexnet_cli.evaluation.output import (
    compare_with_first,
    print_results,
    require_writable,
    write_predictions,
)

NUM_IMAGES = 200
LABELS = np.arange(NUM_IMAGES) % 2
NAMES = ("cat", 'dog, "x"', "élan")
TRUTH = np.array([0, 2, 1])
PROBABILITIES = np.array([[0.25, 0.5, 0.25], [np.nan] * 3, [1e-30, 1 / 3, 2 / 3]])
WHERE = {"data": "photos", "split": "test", "corruption": None}


def measured(name, accuracy, *, classes=("cat", "dog [x]"), labels=LABELS):
    """A model that is 90 % sure, and right on the first images."""
    num_classes = len(classes)
    right = np.arange(len(labels)) < accuracy * len(labels)
    chosen = np.where(right, labels, (labels + 1) % num_classes)
    probabilities = np.full((len(labels), num_classes), 0.1 / (num_classes - 1))
    probabilities[range(len(labels)), chosen] = 0.9
    result = summarise(probabilities, labels, classes=classes)
    return Measured(name, f"{name}/checkpoints/step-1", probabilities, result)


def unanswered(name):
    nothing = np.full((NUM_IMAGES, 2), np.nan)
    return Measured(name, name, nothing, summarise(nothing, LABELS, classes=("cat", "dog [x]")))


@pytest.fixture
def printed(capsys):
    """Return a function that returns what is printed of models."""

    def output(*models, labels=LABELS, **form):
        print_results(models, labels, WHERE, **form)
        return capsys.readouterr().out

    return output


def test_six_classes_have_top_5_and_two_have_none(printed):
    six = measured("a", 0.5, classes=tuple("abcdef"))
    assert "top-5 100.00%" in printed(six)
    assert "top-5" in printed(six, six)
    out = printed(measured("a", 0.8))
    assert "dog [x]" in out
    assert "photos test, 200 images" in out
    assert "top-1 80.00% (95 %: 73.91% to 84.95%)   loss 0.5448" in out
    assert "calibration error 10.00%; mean confidence 90.00%" in out
    assert "top-5" not in out
    one = printed(measured("a", 1, labels=LABELS[:1]), labels=LABELS[:1])
    assert one.split("\n")[0].strip() == "photos test, 1 image"


def test_a_class_without_images_has_no_row(printed):
    out = printed(measured("a", 1, classes=("cat", "dog", "fox")))  # the labels are 0 and 1
    assert "dog" in out
    assert "fox" not in out


def test_a_model_that_answers_nan_has_no_calibration(printed):
    out = printed(unanswered("a"))
    assert "top-1 0.00%" in out
    assert "loss nan" in out
    assert "calibration" not in out


@pytest.mark.parametrize(
    ("accuracies", "text"),
    [
        ((0.5, 0.7), "only A right: 0; only B right: 40; B - A: +20.00 points (95 %: +14.22 to"),
        ((0.5, 0.7), "\nB is better than A (p < 0.0001)\n"),
        ((0.53, 0.5), "\nA is better than B (p = 0.0312)\n"),
        ((0.525, 0.5), "\nno difference between A and B shown by 200 images (p = 0.0625)\n"),
        # The third comparison alone would be a difference; of two it is not.
        ((0.53, 0.5, 0.53), "no difference between A and B shown by 200 images (p = 0.0312, of 2"),
        ((0.5, 0.5, 0.7), "\nC is better than A (p < 0.0001, of 2 comparisons)\n"),
    ],
)
def test_verdicts_are_corrected_for_the_number_of_comparisons(accuracies, text, printed):
    out = printed(*(measured(f"runs/{index}", value) for index, value in enumerate(accuracies)))
    assert text in out
    assert "runs/1" in out


def test_csv_of_one_model_has_a_row_for_each_class(printed):
    rows = list(csv.DictReader(io.StringIO(printed(measured("a", 0.8), as_csv=True))))
    assert [row["class"] for row in rows] == ["cat", "dog [x]"]
    assert [float(row["recall"]) for row in rows] == [0.8, 0.8]
    assert set(rows[0]) == {"class", "images", "precision", "recall", "f1"}


def test_csv_of_several_models_has_a_row_for_each(printed):
    models = [measured("a", 0.5), measured("b", 0.7), unanswered("c")]
    first, second, third = csv.DictReader(io.StringIO(printed(*models, as_csv=True)))
    assert first["model"] == "a/checkpoints/step-1"
    assert first["p_value"] == first["difference"] == ""
    assert float(second["p_value"]) == compare_with_first(models, LABELS)[0].p_value
    assert (second["only_first_right"], second["only_this_right"]) == ("0", "40")
    assert float(second["top1"]) == 0.7
    assert float(second["calibration_error"]) == pytest.approx(0.2)
    assert (third["loss"], third["calibration_error"], third["top1"]) == ("", "", "0.0")


def test_json_has_null_in_place_of_nan(printed):
    document = json.loads(printed(measured("a", 0.5), unanswered("c"), as_json=True))
    assert {name: document[name] for name in WHERE} == WHERE
    second = document["models"][1]
    assert second["loss"] is second["calibration"]["expected_error"] is None
    assert second["num_unanswered"] == NUM_IMAGES
    assert np.sum(second["confusion"]) == 0
    (comparison,) = document["comparisons"]
    assert (comparison["first"], comparison["second"]) == ("a/checkpoints/step-1", "c")
    assert comparison["significant"] is True
    assert comparison["only_first"] == 100


def answered(path, probabilities=PROBABILITIES):
    result = summarise(probabilities, TRUTH, classes=NAMES)
    return Measured(path, path, probabilities, result)


def in_memory(labels=TRUTH):
    return ImageArrays(np.zeros((len(labels), 2, 2, 3), np.uint8), labels)


def test_csv_has_a_row_for_an_image_and_a_model(isolated):
    path = Path("new folder/answers.CSV")
    write_predictions(path, [answered("a"), answered("b", PROBABILITIES[::-1])], in_memory(), NAMES)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["index"]) for row in rows] == [
        ("a", "0"), ("b", "0"), ("a", "1"), ("b", "1"), ("a", "2"), ("b", "2"),
    ]  # fmt: skip
    first, _, nan, _, third, _ = rows
    assert (first["truth"], first["prediction"], first["file"]) == ("cat", 'dog, "x"', "")
    assert (first["p_cat"], first['p_dog, "x"'], first["p_élan"]) == ("0.25", "0.5", "0.25")
    assert (nan["truth"], nan["prediction"], nan["p_cat"]) == ("élan", "", "")
    assert (third["p_cat"], third["p_élan"]) == ("1e-30", str(2 / 3))


def test_json_lines_name_the_files(isolated):
    names = np.array(["cat/1.png", "élan/\udcff\n.png", "dog/3.png"], dtype=object)
    source = ImageFolder(Path("photos"), names, TRUTH)
    write_predictions(Path("answers.jsonl"), [answered("a")], source, NAMES)
    lines = [json.loads(line) for line in Path("answers.jsonl").read_text().splitlines()]
    assert lines[0] == {
        "model": "a", "index": 0, "file": "photos/cat/1.png", "truth": "cat",
        "prediction": 'dog, "x"',
        "probabilities": {"cat": 0.25, 'dog, "x"': 0.5, "élan": 0.25},
    }  # fmt: skip
    assert lines[1]["file"] == "photos/élan/\udcff\n.png"
    assert lines[1]["prediction"] is lines[1]["probabilities"] is None
    write_predictions(Path("answers.csv"), [answered("a")], source, NAMES)
    assert b"photos/\xc3\xa9lan/\\udcff\\n.png" in Path("answers.csv").read_bytes()


def test_an_older_file_is_replaced_atomically(isolated):
    path = Path("answers.csv")
    path.write_text("older")
    require_writable(path)
    assert [each.read_text() for each in isolated.iterdir()] == ["older"]
    with pytest.raises(IndexError):  # after three rows: there are more images than answers
        write_predictions(path, [answered("a")], in_memory(np.zeros(4, int)), NAMES)
    assert path.read_text() == "older"
    write_predictions(path, [answered("a")], in_memory(), NAMES)
    assert path.read_text().startswith("model,")
    assert list(isolated.iterdir()) == [isolated / path]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("name", ["answers.txt", "answers", "/dev/full", ".", ".csv", "folder.csv"])
def test_other_suffixes_and_folders_are_refused(name, isolated):
    Path("folder.csv").mkdir()
    with pytest.raises(UsageError) as caught:
        require_writable(Path(name))
    assert name in caught.value.message
    assert "--predictions predictions.csv" in caught.value.hint


@pytest.mark.parametrize("folder", ["file", "/proc"])
def test_a_folder_that_cannot_be_written_to_is_refused(folder, isolated):
    Path("file").write_text("")
    with pytest.raises(AlexnetError, match="cannot write") as caught:
        require_writable(Path(folder) / "answers.csv")
    assert caught.value.code == "not_writable"
