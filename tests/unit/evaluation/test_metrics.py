import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as reference

from alexnet_cli.evaluation.metrics import (
    NO_CLASS,
    class_metrics,
    confusion_matrix,
    in_top_k,
    mean_negative_log_likelihood,
    predicted_classes,
    softmax,
    wilson_interval,
)
from tests.answers import answers

EXACT = 1e-12


@pytest.fixture(scope="module")
def drawn():
    """Probabilities on a grid of tenths, so that many are equal."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 6, 200)
    labels[labels == 4] = 0  # class 4 is absent
    return generator.integers(0, 5, (200, 6)) / 10, labels


@pytest.mark.parametrize(
    ("right", "total", "expected"),
    [
        (0, 10, (0.0, 0.2775)),
        (10, 10, (0.7225, 1.0)),
        (50, 100, (0.4038, 0.5962)),
        (0, 0, (0.0, 1.0)),
        (1, 1, (0.2065, 1.0)),
    ],
)
def test_wilson_interval(right, total, expected):
    low, high = wilson_interval(right, total)
    assert (low, high) == pytest.approx(expected, abs=5e-5)
    assert 0 <= low <= high <= 1


@given(st.integers(1, 100_000), st.integers(0, 100_000))
def test_wilson_interval_against_scipy(total, right):
    right = min(right, total)
    expected = binomtest(right, total).proportion_ci(method="wilson")
    assert wilson_interval(right, total) == pytest.approx(
        (max(0, expected.low), min(1, expected.high)), abs=EXACT
    )


@given(answers(), st.integers(1, 12))
def test_top_k_against_scikit_learn(drawn, k):
    probabilities, labels = drawn
    num_classes = probabilities.shape[1]
    found = in_top_k(probabilities, labels, k).mean()
    if k >= num_classes:
        assert found == 1  # scikit-learn says so too, with a warning
        return
    if num_classes == 2:  # scikit-learn wants a score of the second class, and takes it above 0.5
        scores, truth = np.sign(probabilities[:, 1] - probabilities[:, 0]) / 2 + 0.5, labels
    else:  # among equals it takes the class of the higher index first, so it sees them reversed
        scores, truth = probabilities[:, ::-1], num_classes - 1 - labels
    expected = reference.top_k_accuracy_score(truth, scores, k=k, labels=range(num_classes))
    assert found == pytest.approx(expected, abs=EXACT)


@given(answers())
def test_loss_against_scikit_learn(drawn):
    probabilities, labels = drawn
    own = probabilities[range(len(labels)), labels]
    found = mean_negative_log_likelihood(probabilities, labels)
    if probabilities.shape[1] == 1:
        assert found == 0  # scikit-learn wants two classes
    elif own.min() > np.finfo(float).eps:  # below it cuts off
        expected = reference.log_loss(labels, probabilities, labels=range(probabilities.shape[1]))
        assert found == pytest.approx(expected, rel=EXACT, abs=EXACT)


@pytest.mark.filterwarnings("ignore:A single label was found")  # in spite of labels, if K = 1
@given(answers())
def test_confusion_and_class_metrics_against_scikit_learn(drawn):
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


def test_images_without_an_answer_are_in_no_column_and_found_by_no_class():
    probabilities = np.array([[np.nan, np.nan], [0.7, 0.3], [0.2, 0.8]])
    labels, predictions = np.array([0, 0, 1]), predicted_classes(probabilities)
    assert predictions.tolist() == [NO_CLASS, 0, 1]
    confusion = confusion_matrix(labels, predictions, 2)
    assert confusion.tolist() == [[1, 0], [0, 1]]
    first, second = class_metrics(confusion, labels, ("a", "b"))
    assert (first.num_images, first.recall, first.precision) == (2, 0.5, 1.0)
    assert (second.num_images, second.recall) == (1, 1.0)


@pytest.mark.parametrize("k", [1, 2, 5, 6])
def test_top_k_against_a_stable_sort(drawn, k):
    probabilities, labels = drawn
    expected = [
        label in sorted(range(6), key=lambda c, row=row: (-row[c], c))[:k]
        for row, label in zip(probabilities, labels, strict=True)
    ]
    assert in_top_k(probabilities, labels, k).tolist() == expected


def test_top_1_agrees_with_argmax_on_ties(drawn):
    probabilities, labels = drawn
    assert (
        in_top_k(probabilities, labels, 1).tolist()
        == (probabilities.argmax(axis=1) == labels).tolist()
    )


def test_an_answer_that_is_no_number_is_not_right():
    assert not in_top_k(np.full((3, 4), np.nan), np.array([0, 1, 3]), 1).any()


def test_softmax_by_hand_and_far_from_zero():
    logits = np.array([[0.0, math.log(3)], [1000.0, 1000.0], [-1000.0, 0.0]], np.float32)
    found = softmax(logits)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [[0.25, 0.75], [0.5, 0.5], [0.0, 1.0]], atol=1e-7)


def test_softmax_of_what_is_no_number():
    logits = np.array([[0, np.nan], [0, np.inf], [-np.inf, -np.inf], [-np.inf, 3]], np.float32)
    found = softmax(logits)
    assert np.isnan(found[:3]).all()
    assert found[3].tolist() == [0, 1]


def test_mean_negative_log_likelihood():
    probabilities = np.array([[0.5, 0.5], [0.25, 0.75]])
    found = mean_negative_log_likelihood(probabilities, np.array([0, 0]))
    assert found == pytest.approx((math.log(2) + math.log(4)) / 2)
    assert math.isfinite(mean_negative_log_likelihood(np.array([[0.0, 1.0]]), np.array([0])))


def test_confusion_and_class_metrics_against_loops(drawn):
    probabilities, labels = drawn
    predictions = probabilities.argmax(axis=1)
    confusion = confusion_matrix(labels, predictions, 6)
    expected = [[0] * 6 for _ in range(6)]
    for label, prediction in zip(labels, predictions, strict=True):
        expected[label][prediction] += 1
    assert confusion.tolist() == expected
    names = tuple("abcdef")
    for index, row in enumerate(class_metrics(confusion, labels, names)):
        hits = expected[index][index]
        actual, predicted = sum(expected[index]), sum(line[index] for line in expected)
        assert (row.name, row.num_images) == (names[index], actual)
        assert row.precision == pytest.approx(hits / predicted)
        assert row.recall == pytest.approx(hits / actual if actual else 0)
        harmonic = 2 * row.precision * row.recall / max(row.precision + row.recall, 1e-300)
        assert row.f1 == pytest.approx(harmonic)
    assert class_metrics(confusion, labels, names)[4].num_images == 0


def test_classes_never_seen_nor_predicted_are_zero():
    labels = np.array([0, 0, 1])
    rows = class_metrics(confusion_matrix(labels, np.array([0, 1, 1]), 3), labels, tuple("abc"))
    assert [(r.precision, r.recall) for r in rows] == [(1.0, 0.5), (0.5, 1.0), (0.0, 0.0)]
    assert [r.f1 for r in rows] == pytest.approx([2 / 3, 2 / 3, 0])


def test_a_single_class():
    labels = np.zeros(3, int)
    (row,) = class_metrics(confusion_matrix(labels, labels, 1), labels, ("only",))
    assert (row.num_images, row.precision, row.recall, row.f1) == (3, 1.0, 1.0, 1.0)
    assert in_top_k(np.ones((3, 1)), np.zeros(3, int), 1).all()
