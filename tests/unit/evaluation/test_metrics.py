"""Metrics against scikit-learn and SciPy, and by hand where these have no say."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as reference

from alexnet_cli.evaluation.metrics import (
    NO_CLASS,
    calibration,
    class_metrics,
    compare,
    confusion_matrix,
    in_top_k,
    mcnemar_p_value,
    mean_negative_log_likelihood,
    paired_interval,
    predicted_classes,
    softmax,
    wilson_interval,
)
from tests.answers import answers

EXACT = 1e-12


@given(st.integers(1, 100_000), st.integers(0, 100_000))
def test_wilson_interval_equals_scipy(total, right):
    right = min(right, total)
    expected = binomtest(right, total).proportion_ci(method="wilson")
    assert wilson_interval(right, total) == pytest.approx(
        (max(0, expected.low), min(1, expected.high)), abs=EXACT
    )
    assert wilson_interval(0, 0) == (0, 1)


@given(answers(), st.integers(1, 12))
def test_top_k_equals_scikit_learn(drawn, k):
    probabilities, labels = drawn
    num_classes = probabilities.shape[1]
    found = in_top_k(probabilities, labels, k).mean()
    if k >= num_classes:
        assert found == 1  # in scikit-learn too, with a warning
        return
    if num_classes == 2:  # scikit-learn wants a score of the second class, and takes it above 0.5
        scores, truth = np.sign(probabilities[:, 1] - probabilities[:, 0]) / 2 + 0.5, labels
    else:  # among equals it takes the class of the higher index first, so it sees them reversed
        scores, truth = probabilities[:, ::-1], num_classes - 1 - labels
    expected = reference.top_k_accuracy_score(truth, scores, k=k, labels=range(num_classes))
    assert found == pytest.approx(expected, abs=EXACT)


@given(answers())
def test_loss_equals_scikit_learn(drawn):
    probabilities, labels = drawn
    own = probabilities[range(len(labels)), labels]
    found = mean_negative_log_likelihood(probabilities, labels)
    if probabilities.shape[1] == 1:
        assert found == 0  # scikit-learn wants two classes
    elif own.min() > np.finfo(float).eps:  # below it cuts off
        expected = reference.log_loss(labels, probabilities, labels=range(probabilities.shape[1]))
        assert found == pytest.approx(expected, rel=EXACT, abs=EXACT)


def test_loss_of_a_probability_of_zero_is_finite():
    found = mean_negative_log_likelihood(np.array([[0.0, 1.0]]), np.array([0]))
    assert found == pytest.approx(708.4, abs=0.1)


@pytest.mark.filterwarnings("ignore:A single label was found")  # in spite of labels, if K = 1
@given(answers())
def test_confusion_and_class_metrics_equal_scikit_learn(drawn):
    probabilities, labels = drawn
    classes = range(probabilities.shape[1])
    predictions = predicted_classes(probabilities)
    confusion = confusion_matrix(labels, predictions, len(classes))
    np.testing.assert_array_equal(
        confusion, reference.confusion_matrix(labels, predictions, labels=classes)
    )
    expected = reference.precision_recall_fscore_support(
        labels, predictions, labels=classes, zero_division=0
    )
    rows = class_metrics(confusion, labels, tuple(map(str, classes)))
    found = [(row.precision, row.recall, row.f1, row.num_images) for row in rows]
    np.testing.assert_allclose(found, np.transpose(expected), rtol=0, atol=EXACT)
    assert [row.name for row in rows] == list(map(str, classes))


def test_nan_is_never_right_and_in_no_column():
    probabilities = np.array([[np.nan, np.nan], [0.7, 0.3], [0.2, 0.8]])
    labels, predictions = np.array([0, 0, 1]), predicted_classes(probabilities)
    assert in_top_k(probabilities, labels, 2).tolist() == [False, True, True]
    assert predictions.tolist() == [NO_CLASS, 0, 1]
    confusion = confusion_matrix(labels, predictions, 2)
    assert confusion.tolist() == [[1, 0], [0, 1]]
    first, second = class_metrics(confusion, labels, ("a", "b"))
    assert (first.num_images, first.recall, first.precision) == (2, 0.5, 1.0)
    assert (second.num_images, second.recall) == (1, 1.0)


def test_softmax_by_hand_and_far_from_zero():
    logits = [[0, math.log(3)], [1000, 1000], [-1000, 0], [-math.inf, 3]]
    found = softmax(np.array(logits, np.float32))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [[0.25, 0.75], [0.5, 0.5], [0, 1], [0, 1]], atol=1e-7)
    unanswered = [[0, np.nan], [0, np.inf], [-np.inf, -np.inf]]
    assert np.isnan(softmax(np.array(unanswered, np.float32))).all()


def expected_calibration(probabilities, labels, num_bins):
    """The definition, one bin and one image at a time."""
    expected, counts = 0.0, []
    for m in range(num_bins):
        confidences, right = [], []
        for row, label in zip(probabilities, labels, strict=True):
            top = max(row)
            if m / num_bins < top <= (m + 1) / num_bins:
                confidences.append(top)
                right.append(float(list(row).index(top) == label))
        counts.append(len(right))
        if right:
            gap = abs(sum(right) / len(right) - sum(confidences) / len(right))
            expected += len(right) / len(labels) * gap
    return expected, counts


@given(answers(), st.sampled_from([1, 2, 10, 15]))
def test_calibration_follows_its_definition(drawn, num_bins):
    probabilities, labels = drawn
    found = calibration(probabilities, labels, num_bins=num_bins)
    error, counts = expected_calibration(np.minimum(probabilities, 1), labels, num_bins)
    assert found.expected_error == pytest.approx(error, abs=EXACT)
    assert [each.num_images for each in found.bins] == counts


def test_calibration_bins_by_hand():
    probabilities = np.array([[0.5, 0.5], [0.6, 0.4], [0.1, 0.9], [0.2, 0.8]])
    found = calibration(probabilities, np.array([0, 1, 1, 1]), num_bins=2)
    low, high = found.bins
    assert (low.low, low.high, low.num_images, low.mean_confidence, low.share_right) == (
        0, 0.5, 1, 0.5, 1.0,
    )  # fmt: skip
    assert (high.low, high.high, high.num_images) == (0.5, 1.0, 3)
    assert high.mean_confidence == pytest.approx(2.3 / 3)
    assert high.share_right == pytest.approx(2 / 3)
    assert found.expected_error == pytest.approx((0.5 + 0.3) / 4)


@pytest.mark.parametrize(
    ("probabilities", "counts", "error"),
    [
        ([[np.nan] * 2, [0.75, 0.25]], [0, 1], 0.25),  # NaN is left out
        ([[1.0000000000000002, 0.0]], [0, 1], 0),  # above one by rounding
        (np.full((2, 3), np.nan), [0, 0], None),
        (np.empty((0, 3)), [0, 0], None),
    ],
)
def test_calibration_of_odd_answers(probabilities, counts, error):
    labels = np.zeros(len(probabilities), int)
    found = calibration(np.array(probabilities), labels, num_bins=2)
    assert [each.num_images for each in found.bins] == counts
    assert found.expected_error == pytest.approx(error, abs=EXACT)
    assert [each.share_right is None for each in found.bins] == [count == 0 for count in counts]


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_equals_scipy(only_first, only_second):
    total = only_first + only_second
    expected = binomtest(only_first, total).pvalue if total else 1.0
    assert mcnemar_p_value(only_first, only_second) == pytest.approx(expected, rel=EXACT)


@pytest.mark.parametrize(
    ("only_first", "only_second", "expected"),
    [
        (1, 5, 2 * 7 / 64),
        (0, 5_000, 0),
        (12_300, 12_700, binomtest(12_300, 25_000).pvalue),
    ],
)
def test_mcnemar_is_exact_and_symmetric(only_first, only_second, expected):
    assert mcnemar_p_value(only_first, only_second) == pytest.approx(expected, rel=1e-9)
    assert mcnemar_p_value(only_second, only_first) == mcnemar_p_value(only_first, only_second)


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 400))
def test_interval_equals_the_authors_formula(only_first, only_second, both):
    size = max(1, only_first + only_second + both)
    # Agresti's own R code, in which the difference is c - b.
    b, c, n = only_first, only_second, size
    difference = (c - b) / (n + 2)
    deviation = math.sqrt((b + c + 1) - (c - b) ** 2 / (n + 2)) / (n + 2)
    half = 1.959963984540054 * deviation
    expected = (max(-1, difference - half), min(1, difference + half))
    assert paired_interval(only_first, only_second, size) == pytest.approx(expected, abs=EXACT)


def test_a_comparison_mirrored_changes_its_sign():
    first = np.array([True, True, True, False, False])
    second = np.array([True, False, False, True, False])
    found = compare(first, second)
    assert (found.num_images, found.only_first, found.only_second) == (5, 2, 1)
    assert found.difference == pytest.approx(-0.2)
    low, high = found.difference_interval
    assert low < -0.2 < high
    mirrored = compare(second, first)
    assert mirrored.difference == -found.difference
    assert mirrored.difference_interval == pytest.approx((-high, -low))
    assert mirrored.p_value == found.p_value == 1
