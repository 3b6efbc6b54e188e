import json

import pytest

from alexnet_cli.errors import AlexnetError, UsageError
from alexnet_cli.reproduce.carry_out import choose_rates, could_be_faster
from alexnet_cli.reproduce.catalog import find_experiment
from alexnet_cli.reproduce.experiment import Measure, Side
from alexnet_cli.reproduce.plan import Terms, plan_seeds
from alexnet_cli.reproduce.result import (
    go_on_with,
    judged,
    read_result,
    to_document,
    write_result,
)
from alexnet_cli.reproduce.verdict import Verdict
from alexnet_cli.reproduce.words import HEADINGS, claim_rows, how, run_headings, run_rows
from tests.made_results import finished, result_of

RELU = find_experiment("relu")
RUNS = tuple(
    finished(arm, seed, epochs=epochs)
    for arm, each in {"relu": (4.0, 5.0, 4.5), "tanh": (24.0, 30.0, 27.5)}.items()
    for seed, epochs in enumerate(each, start=1)
)
RESULT = result_of("relu", RUNS, rates={"relu": 0.01})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results" / "relu.json"


def test_a_result_comes_back_as_it_was(path):
    searched = finished("relu", 0, epochs=None, rate=0.03)
    result = RESULT.with_run(searched)
    write_result(path, result)
    assert read_result(path) == result
    assert "[1.0, 0.01, 2.0, 0.5, 2.0, 0.5, 10.0, 1.0]" in path.read_text()  # an epoch is a line


def test_the_verdict_is_that_of_the_runs_not_of_the_file(path):
    write_result(path, RESULT)
    document = json.loads(path.read_text())
    assert [each["verdict"] for each in document["claims"]] == ["agrees", "agrees"]
    slower = [run.model_copy(update={"epochs_to_train_error": 5.0}) for run in RUNS]
    document["runs"] = to_document(result_of("relu", slower))["runs"]
    path.write_text(json.dumps(document))
    verdicts = [each.verdict for each in judged(RELU, read_result(path))]
    assert verdicts == [Verdict.DIFFERS, Verdict.DIFFERS]


def test_a_seed_that_never_got_there_is_not_counted():
    result = RESULT.with_run(finished("tanh", 3, epochs=None))
    assert set(result.values[Side("tanh", Measure.EPOCHS)]) == {1, 2}
    assert judged(RELU, result)[0].estimate.num_seeds == 2


def test_a_run_takes_the_place_of_an_earlier_one_of_the_same_settings():
    again = RUNS[0].model_copy(update={"epochs": 9})
    assert [run for run in RESULT.with_run(again).runs if run.seed == 1] == [again, RUNS[3]]


def test_a_run_is_found_by_all_its_settings_and_measures():
    ladder = find_experiment("ladder")
    planned = plan_seeds(ladder, Terms(1), {})
    run = next(run for run in planned if run.arm == "13pct")
    nine = result_of("ladder", [finished("13pct", 1, error=0.13, views=9, key=run.key)])
    one = result_of("ladder", [finished("13pct", 1, error=0.13, views=1, key=run.key)])
    assert nine.missing(planned) == [other for other in planned if other is not run]
    assert one.missing(planned) == planned


def test_runs_of_another_rate_do_not_count_any_more():
    planned = plan_seeds(RELU, Terms(1), {"relu": 0.01, "tanh": 0.003})
    kept = [finished(run.arm, 1, epochs=4.0, key=run.key) for run in planned]
    stale = finished("tanh", 1, epochs=40.0, rate=0.0003)
    result = result_of("relu", [*kept, stale]).without_others(planned)
    assert list(result.runs) == kept


def test_more_seeds_add_and_fewer_leave(path):
    more = go_on_with(RESULT, result_of("relu", num_seeds=5, command="more"), path)
    assert (more.terms.num_seeds, more.runs, more.command) == (5, RUNS, "more")
    fewer = go_on_with(RESULT, result_of("relu", num_seeds=1), path)
    assert (fewer.terms.num_seeds, fewer.runs) == (3, RUNS)


@pytest.mark.parametrize("terms", [{"data": "shapes"}, {"share": 0.5}])
def test_other_terms_do_not_overwrite(terms, path):
    with pytest.raises(UsageError, match="has a result of other terms: relu on cifar10") as error:
        go_on_with(RESULT, result_of("relu", **terms), path)
    assert "--output" in error.value.hint


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'{"kind": "benchmark", "schema_version": 1}', b"\xff", b"[" * 9999],
)
def test_a_file_that_is_none(content, tmp_path):
    path = tmp_path / "relu.json"
    path.write_bytes(content)
    with pytest.raises(AlexnetError, match="is not a result of alexnet reproduce, or damaged"):
        read_result(path)


@pytest.mark.parametrize("key", ["experiment", "terms", "rates", "runs", "searched", "command"])
def test_a_damaged_file(key, path):
    write_result(path, RESULT)
    document = json.loads(path.read_text())
    for value in (None, 7, [7], {"7": []}, [{"arm": 7}]):
        path.write_text(json.dumps({**document, key: value}))
        if key in ("searched", "runs") and value == []:
            continue
        with pytest.raises(AlexnetError):
            read_result(path)
    del document[key]
    path.write_text(json.dumps(document))
    with pytest.raises(AlexnetError):
        read_result(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(AlexnetError, match="cannot be read"):
        read_result(tmp_path / "none.json")


def test_the_fastest_rate_is_taken_and_the_smaller_of_equals():
    searched = [
        finished("relu", 0, rate=0.001, epochs=6.0),
        finished("relu", 0, rate=0.003, epochs=4.0),
        finished("relu", 0, rate=0.01, epochs=4.0),
        finished("relu", 0, rate=0.03, epochs=None),
        finished("tanh", 0, rate=0.001, epochs=None),
        finished("tanh", 0, rate=0.01, epochs=20.0),
    ]
    assert choose_rates(RELU, searched) == {"relu": 0.003, "tanh": 0.01}


def test_with_no_rate_that_reaches_it_there_is_no_result():
    searched = [finished("relu", 0, epochs=4.0), finished("tanh", 0, epochs=None)]
    with pytest.raises(AlexnetError, match="tanh reached 25 % training error with none"):
        choose_rates(RELU, searched)


def test_a_rate_is_given_up_when_it_cannot_win_any_more():
    others = [finished("relu", 0, epochs=4.2), finished("tanh", 0, epochs=1.0)]
    assert could_be_faster("relu", 4, others)  # it may still turn out to be reached at 3.9
    assert not could_be_faster("relu", 5, others)  # its next crossing is after 4.5
    assert could_be_faster("relu", 40, [])


def test_what_people_read():
    rows = claim_rows(RELU, RESULT)
    assert all(len(row) == len(HEADINGS) for row in rows)
    assert rows[1][1:] == ("6×", "6.04× ± 0.06×", "5.88× to 6.20×", "3", "agrees")
    assert how(RESULT) == (
        "mean ± standard deviation over seeds; cifar10; rate of relu: 0.01; cpu (1 threads)"
    )
    assert len(run_rows(RELU, RESULT)) == 6
    assert all(len(row) == len(run_headings(RELU)) for row in run_rows(RELU, RESULT))


def test_a_shortened_protocol_says_so_in_each_verdict():
    short = result_of("relu", RUNS, share=0.1)
    assert all(row[-1].endswith(", shortened") for row in claim_rows(RELU, short))
    assert "shortened: 0.1 of the published epochs" in how(short)


def test_errors_are_read_as_percent_and_their_differences_as_points():
    lrn = find_experiment("lrn")
    names = {"13pct": 0.13, "13pct with LRN": 0.12, "11pct": 0.115, "11pct without LRN": 0.125}
    runs = tuple(
        finished(arm, seed, error=error + seed / 1e4, views=9)
        for arm, error in names.items() for seed in (1, 2, 3)
    )  # fmt: skip
    rows = claim_rows(lrn, result_of("lrn", runs))
    assert rows[0][2] == "13.02% ± 0.01%"
    assert rows[2][2:] == (
        "-1.00 points ± 0.00 points",
        "-1.00 points to -1.00 points",
        "3",
        "agrees",
    )
