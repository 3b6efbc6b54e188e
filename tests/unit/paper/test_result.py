import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from alexnet_cli.errors import AlexnetError, UsageError
from alexnet_cli.paper.experiments import EXPERIMENTS, Claim, Measure, Quantity
from alexnet_cli.paper.plan import Protocol, plan_seeds
from alexnet_cli.paper.result import (
    Verdict,
    decide,
    estimate,
    mean_interval,
    open_result,
    read_result,
    to_document,
    write_result,
)
from tests.made_results import finished, relu_runs, result_of

RELU = EXPERIMENTS["relu"]
RESULT = result_of("relu", relu_runs())


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "relu.json"


def write_document(path, **changes):
    path.write_text(json.dumps({**to_document(RESULT), **changes}))


def test_the_values_of_a_quantity_are_infinite_for_seeds_that_did_not_reach_it():
    (unreached,) = result_of("relu", [finished("tanh", 3, epochs=None)]).runs
    result = RESULT.with_run(unreached)
    assert len(result.runs) == len(RESULT.runs)
    assert result.values(Quantity("tanh", Measure.EPOCHS)) == {1: 24.0, 2: 30.0, 3: math.inf}
    assert {result.estimate(claim).verdict for claim in RELU.claims} == {Verdict.UNDECIDED}


def test_a_run_replaces_an_earlier_one_of_the_same_settings():
    again = RESULT.runs[0].model_copy(update={"epochs": 9})
    changed = RESULT.with_run(again).runs
    assert [run for run in changed if run.seed == 1] == [again, RESULT.runs[3]]


def test_a_run_is_found_by_arm_settings_and_measures():
    planned = plan_seeds(EXPERIMENTS["ladder"], Protocol(1), {})
    run = next(run for run in planned if run.arm == "13pct")
    ten = result_of("ladder", [finished("13pct", 1, error=0.13, views=10)])
    one = result_of("ladder", [finished("13pct", 1, error=0.13, views=1)])
    other = result_of("ladder", [finished("13pct", 1, error=0.13, views=10, key="other settings")])
    assert ten.missing(planned) == [each for each in planned if each is not run]
    assert one.missing(planned) == other.missing(planned) == planned


@pytest.mark.parametrize(("requested", "kept"), [(5, 5), (1, 3)])
def test_more_seeds_extend_a_result_and_fewer_leave_it(requested, kept, path):
    write_result(path, RESULT)
    result = open_result(path, "relu", Protocol(requested))
    assert (result.protocol.num_seeds, result.runs) == (kept, RESULT.runs)
    assert result.command == f"alexnet reproduce relu --seeds {kept}"


@pytest.mark.parametrize(
    ("experiment", "protocol"),
    [
        ("relu", Protocol(3, data="shapes")),
        ("relu", Protocol(3, max_epochs=4)),
        ("lrn", Protocol(3)),
    ],
)
def test_the_result_of_another_command_is_not_continued(experiment, protocol, path):
    write_result(path, RESULT)
    with pytest.raises(UsageError, match="alexnet reproduce relu --seeds 3") as error:
        open_result(path, experiment, protocol)
    assert "--output" in error.value.hint


def test_a_result_is_read_as_it_was_written(path):
    result = result_of("relu", relu_runs(), searched=[finished("relu", 0, rate=0.03)])
    write_result(path, result)
    assert read_result(path) == result
    assert "[1.0, 0.01, 2.0, 0.5, 2.0, 0.5, 10.0, 1.0]" in path.read_text()  # an epoch is a line


def test_verdicts_are_computed_from_the_runs_not_read(path):
    assert [each["verdict"] for each in to_document(RESULT)["claims"]] == ["agrees", "agrees"]
    slower = [run.model_copy(update={"epochs_to_train_error": 5.0}) for run in RESULT.runs]
    write_document(path, runs=to_document(result_of("relu", slower))["runs"])
    result = read_result(path)
    assert {result.estimate(claim).verdict for claim in RELU.claims} == {Verdict.DIFFERS}


@pytest.mark.parametrize(
    ("protocol", "is_shortened", "is_trial"),
    [
        ({}, False, False),
        ({"max_epochs": 4}, True, False),
        ({"data": "shapes", "max_epochs": 60}, False, True),
    ],
)
def test_verdicts_on_less_than_the_published_training_are_marked(protocol, is_shortened, is_trial):
    document = to_document(result_of("relu", relu_runs(), **protocol))
    assert {each["is_shortened"] for each in document["claims"]} == {is_shortened}
    assert document["is_trial"] == is_trial


@pytest.mark.parametrize(
    "content",
    [None, b"", b"{", b"[]", b"{}", b'{"kind": "benchmark", "schema_version": 1}', b"\xff",
     b"[" * 9999],
)  # fmt: skip
def test_a_file_that_is_not_a_result_is_an_error(content, path):
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AlexnetError) as error:
        read_result(path)
    assert error.value.code == ("result_missing" if content is None else "result_damaged")


@pytest.mark.parametrize("key", ["experiment", "terms", "rates", "runs", "searched"])
@pytest.mark.parametrize("value", [None, 7, [7], {"7": []}, [{"arm": 7}], ...])
def test_a_file_with_a_damaged_or_missing_field_is_an_error(key, value, path):
    document = {**to_document(RESULT), key: value}
    if value is ...:
        del document[key]
    path.write_text(json.dumps(document))
    with pytest.raises(AlexnetError):
        read_result(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("provenance", {}),
        ("log", [[1]]),
        ("epochs_to_train_error", 0),
        ("tests", [{"top1": 2}]),
        ("learning_rate", float("nan")),
    ],
)
def test_the_error_names_the_damaged_field_of_a_run(key, value, path):
    runs = to_document(RESULT)["runs"]
    runs[1][key] = value
    write_document(path, runs=runs)
    with pytest.raises(AlexnetError, match=rf"runs\.1\.{key}"):
        read_result(path)


@pytest.mark.parametrize(("name", "seed"), [("runs", 1), ("searched", 0)])
def test_runs_of_other_settings_are_an_error(name, seed, path):
    other = finished("relu", seed, epochs=4.0, key="of another version")
    write_result(path, result_of("relu", **{name: [other]}))
    with pytest.raises(AlexnetError, match="1 runs with other settings") as error:
        read_result(path)
    assert error.value.code == "result_differs"
    assert error.value.hint == f"keep it elsewhere: mv {path} {path}.old"


A, B = Quantity("a"), Quantity("b")
LEVEL = Claim("a has 13 % test error", "13 %", (0.12, 0.14), A)
LOWER = Claim("a has a lower error than b", "", (-math.inf, 0.0), A, B)
SLOWER = Claim(
    "a takes longer than b", "", (1.0, math.inf), *(Quantity(arm, Measure.EPOCHS) for arm in "ab")
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
    found = estimate(SLOWER, [{1: 9.0, 2: 9.0, 3: math.inf}, {1: 1.0, 2: 1.0, 3: 1.0}])
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
