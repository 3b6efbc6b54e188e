import csv
import io
import json

import numpy as np
import pytest

from alexnet_cli.evaluation.measure import Measured, summarise
from alexnet_cli.evaluation.output import compare_with_first, print_results

NUM_IMAGES = 200
LABELS = np.arange(NUM_IMAGES) % 2
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


def test_two_classes_have_no_top_5(printed):
    out = printed(measured("a", 0.8))
    assert "dog [x]" in out
    assert "photos test, 200 images" in out
    assert "top-1 80.00% (95 %: 73.91% to 84.95%)   loss 0.5448" in out
    assert "calibration error 10.00%; mean confidence 90.00%" in out
    assert "top-5" not in out


def test_six_classes_have_top_5(printed):
    six = measured("a", 0.5, classes=tuple("abcdef"))
    assert "top-5 100.00%" in printed(six)
    assert "top-5" in printed(six, six)


def test_one_image_is_singular(printed):
    labels = LABELS[:1]
    out = printed(measured("a", 1, labels=labels), labels=labels)
    assert out.split("\n")[0].strip() == "photos test, 1 image"


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
