import math
from math import inf

import numpy as np
import pytest
from scipy import stats

from alexnet_cli.paper.experiments import Claim, Measure, Quantity
from alexnet_cli.paper.verdict import Verdict, decide, estimate, mean_interval

A, B = Quantity("a"), Quantity("b")
LEVEL = Claim("a has 13 % test error", "13 %", (0.12, 0.14), A)
LOWER = Claim("a has a lower error than b", "", (-inf, 0.0), A, B)
SLOWER = Claim(
    "a takes longer than b", "", (1.0, inf), *(Quantity(arm, Measure.EPOCHS) for arm in "ab")
)


@pytest.mark.parametrize("count", [2, 3, 5, 10, 31])
def test_the_interval_is_students(count):
    numbers = np.random.default_rng(count).normal(0.2, 0.01, count).tolist()
    expected = stats.t.interval(0.95, count - 1, loc=np.mean(numbers), scale=stats.sem(numbers))
    assert mean_interval(numbers) == pytest.approx(expected, rel=2e-4)


def test_the_interval_of_many_numbers_is_not_too_narrow():
    numbers = np.random.default_rng(0).normal(size=80).tolist()
    low, high = mean_interval(numbers)
    expected = stats.t.interval(0.95, 79, loc=np.mean(numbers), scale=stats.sem(numbers))
    assert low < expected[0] < expected[1] < high


def test_a_level_is_the_mean_over_seeds():
    found = estimate(LEVEL, [{1: 0.12, 2: 0.14}])
    assert (found.num_seeds, found.mean) == (2, pytest.approx(0.13))
    assert found.spread == pytest.approx(math.sqrt(2) * 0.01)


def test_a_difference_is_paired_by_seed():
    values = {1: 0.10, 2: 0.20, 3: 0.30, 4: 0.9}, {1: 0.11, 2: 0.21, 3: 0.31}
    found = estimate(LOWER, values)
    assert (found.num_seeds, found.mean) == (3, pytest.approx(-0.01))
    assert found.spread == pytest.approx(0, abs=1e-12)  # the seeds themselves differ by far more
    assert found.verdict is Verdict.AGREES


def test_a_ratio_is_the_geometric_mean():
    found = estimate(SLOWER, [{1: 8.0, 2: 2.0}, {1: 1.0, 2: 1.0}])
    assert found.mean == pytest.approx(4.0)
    low, high = found.interval
    assert low * high == pytest.approx(16.0)


def test_a_seed_that_did_not_reach_the_error_leaves_the_claim_undecided():
    found = estimate(SLOWER, [{1: 9.0, 2: 9.0, 3: inf}, {1: 1.0, 2: 1.0, 3: 1.0}])
    assert (found.num_seeds, found.num_unreached, found.mean) == (2, 1, pytest.approx(9.0))
    assert found.verdict is Verdict.UNDECIDED


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
    assert decide(LEVEL, interval) is verdict


@pytest.mark.parametrize("values", [[{}, {}], [{1: 0.13}, {}], [{1: 0.13}, {1: 0.2, 2: 0.2}]])
def test_one_seed_or_none_decides_nothing(values):
    for claim in (LEVEL, LOWER, SLOWER):
        found = estimate(claim, values[: len(claim.quantities)])
        assert found.interval is None
        assert found.verdict is Verdict.UNDECIDED
