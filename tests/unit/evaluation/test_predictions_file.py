import csv
import json
from pathlib import Path

import numpy as np
import pytest

from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.data.folder import ImageFolder
from alexnet_cli.errors import AlexnetError, UsageError
from alexnet_cli.evaluation.measure import Measured, summarise
from alexnet_cli.evaluation.predictions_file import require_writable, write_predictions

CLASSES = ("cat", 'dog, "x"', "élan")
LABELS = np.array([0, 2, 1])
PROBABILITIES = np.array([[0.25, 0.5, 0.25], [np.nan] * 3, [1e-30, 1 / 3, 2 / 3]])


def model(path, probabilities=PROBABILITIES):
    result = summarise(probabilities, LABELS, classes=CLASSES)
    return Measured(path, path, probabilities, result)


def in_memory(labels=LABELS):
    return ImageArrays(np.zeros((len(labels), 2, 2, 3), np.uint8), labels)


def test_csv_has_a_row_for_an_image_and_a_model(isolated):
    path = Path("new folder/answers.CSV")
    write_predictions(path, [model("a"), model("b", PROBABILITIES[::-1])], in_memory(), CLASSES)
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
    source = ImageFolder(Path("photos"), names, LABELS)
    write_predictions(Path("answers.jsonl"), [model("a")], source, CLASSES)
    lines = [json.loads(line) for line in Path("answers.jsonl").read_text().splitlines()]
    assert lines[0] == {
        "model": "a", "index": 0, "file": "photos/cat/1.png", "truth": "cat",
        "prediction": 'dog, "x"',
        "probabilities": {"cat": 0.25, 'dog, "x"': 0.5, "élan": 0.25},
    }  # fmt: skip
    assert lines[1]["file"] == "photos/élan/\udcff\n.png"
    assert lines[1]["prediction"] is lines[1]["probabilities"] is None
    write_predictions(Path("answers.csv"), [model("a")], source, CLASSES)
    assert b"photos/\xc3\xa9lan/\\udcff\n.png" in Path("answers.csv").read_bytes()


def test_an_older_file_is_replaced_atomically(isolated):
    path = Path("answers.csv")
    path.write_text("older")
    with pytest.raises(IndexError):  # after three rows: there are more images than answers
        write_predictions(path, [model("a")], in_memory(np.zeros(4, int)), CLASSES)
    assert path.read_text() == "older"
    write_predictions(path, [model("a")], in_memory(), CLASSES)
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


def test_the_check_leaves_nothing_behind(isolated):
    Path("answers.csv").write_text("older")
    require_writable(Path("answers.csv"))
    assert [path.read_text() for path in isolated.iterdir()] == ["older"]
