import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from alexnet_cli.evaluation.metrics import compare, mcnemar_p_value, paired_interval


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_against_scipy(only_first, only_second):
    total = only_first + only_second
    expected = binomtest(only_first, total).pvalue if total else 1.0
    assert mcnemar_p_value(only_first, only_second) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("only_first", "only_second", "expected"),
    [(0, 0, 1), (1, 1, 1), (0, 1, 1), (0, 5, 2 / 32), (1, 5, 2 * 7 / 64), (0, 5_000, 0)],
)
def test_mcnemar_by_hand(only_first, only_second, expected):
    assert mcnemar_p_value(only_first, only_second) == expected
    assert mcnemar_p_value(only_second, only_first) == expected


def test_mcnemar_of_a_large_set():
    expected = binomtest(12_300, 25_000).pvalue
    assert mcnemar_p_value(12_300, 12_700) == pytest.approx(expected, rel=1e-9)


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 400))
def test_interval_against_the_authors_formula(only_first, only_second, both):
    size = max(1, only_first + only_second + both)
    # Agresti's own R code, in which the difference is c - b.
    b, c, n = only_first, only_second, size
    difference = (c - b) / (n + 2)
    deviation = math.sqrt((b + c + 1) - (c - b) ** 2 / (n + 2)) / (n + 2)
    half = 1.959963984540054 * deviation
    expected = (max(-1, difference - half), min(1, difference + half))
    found = paired_interval(only_first, only_second, size)
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shares", [(0.05, 0.05), (0.1, 0.2), (0.02, 0.3), (0.3, 0.3)])
def test_interval_covers_the_truth_as_often_as_it_says(shares):
    """Exactly, over all outcomes of forty images."""
    num_images, (first, second), covered = 40, shares, 0.0
    for b in range(num_images + 1):
        for c in range(num_images + 1 - b):
            rest = num_images - b - c
            ways = math.comb(num_images, b) * math.comb(num_images - b, c)
            chance = ways * first**b * second**c * (1 - first - second) ** rest
            low, high = paired_interval(b, c, num_images)
            covered += chance * (low <= second - first <= high)
    assert 0.94 < covered < 0.985


def test_counts_and_difference():
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


def test_a_model_against_itself():
    right = np.array([True, False, True])
    found = compare(right, right)
    assert (found.difference, found.p_value) == (0, 1)
    low, high = found.difference_interval
    assert low == -high < 0
