import csv
import io
import json

import numpy as np
import pytest

from alexnet_cli.evaluation.measure import summarise
from alexnet_cli.evaluation.output import (
    Measured,
    compare_with_first,
    comparison_document,
    print_class_rows,
    print_comparison,
    print_evaluation,
    print_model_rows,
)

NUM_IMAGES = 200
LABELS = np.arange(NUM_IMAGES) % 2


def measured(name, share_right, *, classes=("cat", "dog [x]"), labels=LABELS):
    """A model that is 90 % sure, and right on the first images."""
    num_classes = len(classes)
    right = np.arange(len(labels)) < share_right * len(labels)
    chosen = np.where(right, labels, (labels + 1) % num_classes)
    sure = np.full((len(labels), num_classes), 0.1 / (num_classes - 1))
    sure[range(len(labels)), chosen] = 0.9
    result = summarise(sure, labels, classes=classes, num_views=1)
    return Measured(name, f"{name}/checkpoints/step-1", sure, result)


def unanswered(name):
    nothing = np.full((NUM_IMAGES, 2), np.nan)
    result = summarise(nothing, LABELS, classes=("cat", "dog [x]"), num_views=1)
    return Measured(name, name, nothing, result)


def test_figures_of_two_classes_have_no_top_5(capsys):
    print_evaluation(measured("a", 0.8).result, title="photos test")
    out = capsys.readouterr().out
    assert "dog [x]" in out
    assert "photos test, 200 images" in out
    assert "top-1 80.00% (95 %: 73.91% to 84.95%)   loss 0.5448" in out
    assert "calibration error 10.00%; on average 90.00% sure of the first class" in out
    assert "top-5" not in out


def test_six_classes_have_it(capsys):
    six = measured("a", 0.5, classes=tuple("abcdef"))
    print_evaluation(six.result, title="t")
    assert "top-5 100.00%" in capsys.readouterr().out
    print_comparison([six, six], compare_with_first([six, six], LABELS), title="t")
    assert "top-5" in capsys.readouterr().out


def test_one_image_is_one(capsys):
    one = measured("a", 1, labels=LABELS[:1])
    print_evaluation(one.result, title="t")
    assert capsys.readouterr().out.split("\n")[0].strip() == "t, 1 image"


def test_no_answer_at_all_is_said(capsys):
    print_evaluation(unanswered("a").result, title="t")
    out = capsys.readouterr().out
    assert "top-1 0.00%" in out
    assert "loss nan" in out
    assert "calibration" not in out


@pytest.mark.parametrize(
    ("shares", "words"),
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
def test_verdicts(shares, words, capsys):
    models = [measured(f"runs/{index}", share) for index, share in enumerate(shares)]
    print_comparison(models, compare_with_first(models, LABELS), title="t")
    out = capsys.readouterr().out
    assert words in out
    assert "runs/1" in out


def test_csv_of_classes(capsys):
    print_class_rows(measured("a", 0.8).result)
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["class"] for row in rows] == ["cat", "dog [x]"]
    assert [float(row["recall"]) for row in rows] == [0.8, 0.8]
    assert set(rows[0]) == {"class", "images", "precision", "recall", "f1"}


def test_csv_of_models(capsys):
    models = [measured("a", 0.5), measured("b", 0.7), unanswered("c")]
    comparisons = compare_with_first(models, LABELS)
    print_model_rows(models, comparisons)
    first, second, third = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert first["model"] == "a/checkpoints/step-1"
    assert first["p_value"] == first["difference"] == ""
    assert float(second["p_value"]) == comparisons[0].p_value
    assert (second["only_first_right"], second["only_this_right"]) == ("0", "40")
    assert float(second["top1"]) == 0.7
    assert float(second["calibration_error"]) == pytest.approx(0.2)
    assert (third["loss"], third["calibration_error"], third["top1"]) == ("", "", "0.0")


def test_json_of_models_has_no_nan():
    models = [measured("a", 0.5), unanswered("c")]
    document = comparison_document(models, compare_with_first(models, LABELS))
    again = json.loads(json.dumps(document, allow_nan=False))
    assert again["models"][1]["loss"] is None
    assert again["models"][1]["num_unanswered"] == NUM_IMAGES
    assert again["models"][1]["calibration"]["expected_error"] is None
    assert np.sum(again["models"][1]["confusion"]) == 0
    (comparison,) = again["comparisons"]
    assert (comparison["first"], comparison["second"]) == ("a/checkpoints/step-1", "c")
    assert comparison["significant"] is True
    assert comparison["only_first"] == 100
