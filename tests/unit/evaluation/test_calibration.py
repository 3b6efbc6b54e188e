import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alexnet_cli.evaluation.metrics import calibration
from tests.answers import answers


def by_hand(probabilities, labels, num_bins):
    """The definition, one bin and one image at a time."""
    expected, bins = 0.0, []
    answered = [row for row in probabilities if not np.isnan(row).any()]
    for m in range(num_bins):
        sure, right = [], []
        for row, label in zip(probabilities, labels, strict=True):
            top = max(row)
            if m / num_bins < top <= (m + 1) / num_bins:
                sure.append(top)
                right.append(float(list(row).index(top) == label))
        bins.append(len(sure))
        if sure:
            gap = abs(sum(right) / len(right) - sum(sure) / len(sure))
            expected += len(sure) / len(answered) * gap
    return expected, bins


@given(answers(), st.sampled_from([1, 2, 10, 15]))
def test_against_the_definition(drawn, num_bins):
    probabilities, labels = drawn
    found = calibration(probabilities, labels, num_bins=num_bins)
    error, counts = by_hand(np.minimum(probabilities, 1), labels, num_bins)
    assert found.expected_error == pytest.approx(error, abs=1e-12)
    assert [each.num_images for each in found.bins] == counts


def test_by_hand():
    probabilities = np.array([[0.5, 0.5], [0.6, 0.4], [0.1, 0.9], [0.2, 0.8]])
    found = calibration(probabilities, np.array([0, 1, 1, 1]), num_bins=2)
    assert found.bins[1].num_images == 3
    low, high = found.bins
    assert (low.low, low.high, low.num_images, low.mean_confidence, low.share_right) == (
        0, 0.5, 1, 0.5, 1.0,
    )  # fmt: skip
    assert (high.low, high.high) == (0.5, 1.0)
    assert high.mean_confidence == pytest.approx(2.3 / 3)
    assert high.share_right == pytest.approx(2 / 3)
    assert found.expected_error == pytest.approx((0.5 + 0.3) / 4)


def test_always_sure_and_always_right_or_wrong():
    sure = np.eye(3)[[0, 1, 2, 0]]
    assert calibration(sure, np.array([0, 1, 2, 0])).expected_error == 0
    assert calibration(sure, np.array([1, 2, 0, 1])).expected_error == 1


def test_one_class_is_always_certain():
    assert calibration(np.ones((3, 1)), np.zeros(3, int)).expected_error == 0


def test_more_than_one_by_rounding_is_in_the_last_bin():
    found = calibration(np.array([[1.0000000000000002, 0.0]]), np.array([0]))
    assert found.bins[-1].num_images == 1


def test_answers_that_are_no_numbers_are_left_out():
    probabilities = np.array([[np.nan, np.nan], [0.75, 0.25]])
    found = calibration(probabilities, np.array([0, 0]))
    assert sum(each.num_images for each in found.bins) == 1
    assert found.expected_error == 0.25


def test_without_an_answer_there_is_no_error():
    for probabilities in (np.full((2, 3), np.nan), np.empty((0, 3))):
        found = calibration(probabilities, np.zeros(len(probabilities), int))
        assert found.expected_error is None
        assert {each.num_images for each in found.bins} == {0}
        assert {each.share_right for each in found.bins} == {None}
