import math

import numpy as np
import pytest

from alexnet_cli.evaluation.metrics import (
    class_metrics,
    confusion_matrix,
    in_top_k,
    mean_negative_log_likelihood,
    softmax,
    wilson_interval,
)


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
    for index, row in enumerate(class_metrics(confusion, names)):
        hits = expected[index][index]
        actual, predicted = sum(expected[index]), sum(line[index] for line in expected)
        assert (row.name, row.num_images) == (names[index], actual)
        assert row.precision == pytest.approx(hits / predicted)
        assert row.recall == pytest.approx(hits / actual if actual else 0)
        harmonic = 2 * row.precision * row.recall / max(row.precision + row.recall, 1e-300)
        assert row.f1 == pytest.approx(harmonic)
    assert class_metrics(confusion, names)[4].num_images == 0


def test_classes_never_seen_nor_predicted_are_zero():
    rows = class_metrics(
        confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 3), tuple("abc")
    )
    assert [(r.precision, r.recall) for r in rows] == [(1.0, 0.5), (0.5, 1.0), (0.0, 0.0)]
    assert [r.f1 for r in rows] == pytest.approx([2 / 3, 2 / 3, 0])


def test_a_single_class():
    (row,) = class_metrics(confusion_matrix(np.zeros(3, int), np.zeros(3, int), 1), ("only",))
    assert (row.num_images, row.precision, row.recall, row.f1) == (3, 1.0, 1.0, 1.0)
    assert in_top_k(np.ones((3, 1)), np.zeros(3, int), 1).all()
