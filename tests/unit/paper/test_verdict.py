import math
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from alexnet_cli.paper.experiments import Claim, ClaimKind, Measure, Quantity
from alexnet_cli.paper.verdict import Estimate, Verdict, estimate, judge, mean_interval

A, B = Quantity("a", Measure.TEST_ERROR), Quantity("b", Measure.TEST_ERROR)
LEVEL = Claim("a has 13 % test error", "13 %", A, (0.12, 0.14))
LOWER = Claim("a is better than b", "", A, (-inf, 0.0), B, ClaimKind.DIFFERENCE)
SOONER = Claim("a takes longer", "", A, (1.0, inf), B, ClaimKind.RATIO)


@pytest.mark.parametrize("count", [2, 3, 5, 10, 31])
def test_the_interval_is_students(count):
    numbers = np.random.default_rng(count).normal(0.2, 0.01, count).tolist()
    expected = stats.t.interval(0.95, count - 1, loc=np.mean(numbers), scale=stats.sem(numbers))
    assert mean_interval(numbers) == pytest.approx(expected, rel=2e-4)


def test_of_many_the_interval_is_not_too_narrow():
    numbers = np.random.default_rng(0).normal(size=80).tolist()
    low, high = mean_interval(numbers)
    expected = stats.t.interval(0.95, 79, loc=np.mean(numbers), scale=stats.sem(numbers))
    assert low < expected[0] < expected[1] < high


def test_intervals_hold_the_mean_as_often_as_they_say():
    rng = np.random.default_rng(1)
    draws = rng.normal(0.0, 1.0, (4_000, 3)).tolist()
    held = sum(low <= 0 <= high for low, high in map(mean_interval, draws))
    assert held / 4_000 == pytest.approx(0.95, abs=0.012)


def test_a_level_is_the_mean_over_seeds():
    found = estimate(LEVEL, {A: {1: 0.12, 2: 0.14}})
    assert (found.num_seeds, found.mean) == (2, pytest.approx(0.13))
    assert found.spread == pytest.approx(math.sqrt(2) * 0.01)


def test_a_difference_is_taken_seed_by_seed():
    values = {A: {1: 0.10, 2: 0.20, 3: 0.30, 4: 0.9}, B: {1: 0.11, 2: 0.21, 3: 0.31}}
    found = estimate(LOWER, values)
    assert (found.num_seeds, found.mean) == (3, pytest.approx(-0.01))
    assert found.spread == pytest.approx(0, abs=1e-12)  # the seeds themselves differ by far more
    assert judge(LOWER, found) is Verdict.AGREES


def test_a_ratio_is_the_geometric_mean():
    found = estimate(SOONER, {A: {1: 8.0, 2: 2.0}, B: {1: 1.0, 2: 1.0}})
    assert found.mean == pytest.approx(4.0)
    low, high = found.interval
    assert low * high == pytest.approx(16.0)


@given(st.lists(st.floats(0.5, 50), min_size=2, max_size=8), st.floats(0.5, 20))
def test_a_ratio_turned_round_is_its_inverse(numbers, other):
    values = {A: dict(enumerate(numbers)), B: dict.fromkeys(range(len(numbers)), other)}
    turned = {A: values[B], B: values[A]}
    one, two = estimate(SOONER, values), estimate(SOONER, turned)
    assert one.mean * two.mean == pytest.approx(1)
    assert one.interval[0] * two.interval[1] == pytest.approx(1)


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((0.121, 0.139), Verdict.AGREES),
        ((0.12, 0.13), Verdict.UNDECIDED),
        ((0.14, 0.14), Verdict.DIFFERS),
        ((0.141, 0.15), Verdict.DIFFERS),
        ((0.10, 0.119), Verdict.DIFFERS),
        ((0.119, 0.13), Verdict.UNDECIDED),
        ((0.13, 0.2), Verdict.UNDECIDED),
        ((0.1, 0.2), Verdict.UNDECIDED),
    ],
)
def test_the_verdict_is_where_the_interval_lies(interval, verdict):
    assert judge(LEVEL, Estimate(3, 0, 0.13, 0.01, interval)) is verdict


@pytest.mark.parametrize("values", [{}, {A: {1: 0.13}}, {A: {1: 0.13}, B: {2: 0.2}}])
def test_one_seed_or_none_decides_nothing(values):
    for claim in (LEVEL, LOWER, SOONER):
        found = estimate(claim, values)
        assert found.interval is None
        assert judge(claim, found) is Verdict.UNDECIDED
