import json
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet_cli.errors import AlexnetError, TrainingError, UsageError
from alexnet_cli.paper.experiments import Measure, Quantity, find_experiment
from alexnet_cli.paper.plan import Protocol, plan_seeds
from alexnet_cli.paper.result import (
    continue_result,
    lock_output,
    read_result,
    to_document,
    write_result,
)
from alexnet_cli.paper.verdict import Verdict, evaluate_claims
from tests.made_results import finished, relu_runs, result_of

RELU = find_experiment("relu")
RESULT = result_of("relu", relu_runs())
RUNS = RESULT.runs
PATH = Path("results/relu.json")


def test_a_seed_that_did_not_reach_the_error_leaves_all_undecided():
    unreached = result_of("relu", [finished("tanh", 3, epochs=None)]).runs[0]
    result = RESULT.with_run(unreached)
    assert len(result.runs) == len(RUNS)
    assert result.values[Quantity("tanh", Measure.EPOCHS)] == {1: 24.0, 2: 30.0, 3: None}
    for each in evaluate_claims(RELU, result.values):
        assert (each.estimate.num_seeds, each.estimate.num_unreached) == (2, 1)
        assert each.estimate.interval is not None
        assert each.verdict is Verdict.UNDECIDED


def test_a_run_takes_the_place_of_an_earlier_one_of_the_same_settings():
    again = RUNS[0].model_copy(update={"epochs": 9})
    assert [run for run in RESULT.with_run(again).runs if run.seed == 1] == [again, RUNS[3]]


def test_a_run_is_found_by_arm_settings_and_measures():
    planned = plan_seeds(find_experiment("ladder"), Protocol(1), {})
    run = next(run for run in planned if run.arm == "13pct")
    ten = result_of("ladder", [finished("13pct", 1, error=0.13, views=10, key=run.key)])
    one = result_of("ladder", [finished("13pct", 1, error=0.13, views=1, key=run.key)])
    renamed = result_of("ladder", [finished("13", 1, error=0.13, views=10, key=run.key)])
    assert ten.missing(planned) == [other for other in planned if other is not run]
    assert one.missing(planned) == renamed.missing(planned) == planned


@pytest.mark.parametrize(("asked", "kept"), [(5, 5), (1, 3)])
def test_more_seeds_add_and_fewer_leave(asked, kept):
    result = continue_result(RESULT, "relu", Protocol(asked), PATH)
    assert (result.protocol.num_seeds, result.runs) == (kept, RUNS)
    assert result.command == f"alexnet reproduce relu --seeds {kept}"


@pytest.mark.parametrize(
    ("experiment", "protocol"),
    [
        ("relu", Protocol(3, data="shapes")),
        ("relu", Protocol(3, max_epochs=4)),
        ("lrn", Protocol(3)),
    ],
)
def test_another_protocol_does_not_overwrite(experiment, protocol):
    with pytest.raises(UsageError, match="alexnet reproduce relu --seeds 3") as error:
        continue_result(RESULT, experiment, protocol, PATH)
    assert "--output" in error.value.hint


def test_the_command_has_the_protocol():
    protocol = Protocol(2, data="shapes", max_epochs=4)
    assert protocol.command("lrn") == "alexnet reproduce lrn --data shapes --epochs 4 --seeds 2"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "relu.json"


def test_a_result_comes_back_as_it_was(path):
    result = result_of("relu", relu_runs(), searched=[finished("relu", 0, rate=0.03)])
    write_result(path, result)
    assert read_result(path) == result
    assert "[1.0, 0.01, 2.0, 0.5, 2.0, 0.5, 10.0, 1.0]" in path.read_text()  # an epoch is a line


def test_the_verdict_is_that_of_the_runs_not_of_the_file(path):
    document = to_document(RESULT)
    assert [each["verdict"] for each in document["claims"]] == ["agrees", "agrees"]
    slower = [run.model_copy(update={"epochs_to_train_error": 5.0}) for run in RESULT.runs]
    document["runs"] = to_document(result_of("relu", slower))["runs"]
    path.write_text(json.dumps(document))
    verdicts = [each.verdict for each in evaluate_claims(RELU, read_result(path).values)]
    assert verdicts == [Verdict.DIFFERS, Verdict.DIFFERS]


@pytest.mark.parametrize(
    ("protocol", "marks"),
    [
        ({}, (False, False)),
        ({"max_epochs": 4}, (True, False)),
        ({"data": "shapes", "max_epochs": 60}, (False, True)),
    ],
)
def test_the_file_marks_verdicts_about_less_than_the_published_training(protocol, marks):
    document = to_document(result_of("relu", relu_runs(), **protocol))
    assert {each["is_shortened"] for each in document["claims"]} == {marks[0]}
    assert document["is_trial"] == marks[1]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'{"kind": "benchmark", "schema_version": 1}', b"\xff", b"[" * 9999],
)
def test_a_file_that_is_not_a_result(content, path):
    path.write_bytes(content)
    with pytest.raises(AlexnetError) as error:
        read_result(path)
    assert error.value.code == "result_damaged"


@pytest.mark.parametrize("key", ["experiment", "terms", "rates", "runs", "searched"])
@pytest.mark.parametrize("value", [None, 7, [7], {"7": []}, [{"arm": 7}], ...])
def test_a_damaged_file(key, value, path):
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
def test_a_damaged_run(key, value, path):
    document = to_document(RESULT)
    document["runs"][1][key] = value
    path.write_text(json.dumps(document))
    with pytest.raises(AlexnetError, match=rf"runs\.1\.{key}"):
        read_result(path)


@pytest.mark.parametrize("name", ["runs", "searched"])
def test_runs_of_other_settings_are_an_error(name, path):
    other = finished("relu", 0 if name == "searched" else 1, epochs=4.0, key="of another version")
    write_result(path, result_of("relu", **{name: [other]}))
    with pytest.raises(AlexnetError, match="1 runs with other settings") as error:
        read_result(path)
    assert error.value.code == "result_differs"
    assert error.value.hint == f"keep it elsewhere: mv {path} {path}.old"


def test_a_missing_file(path):
    with pytest.raises(AlexnetError) as error:
        read_result(path)
    assert error.value.code == "result_missing"


def test_one_process_at_a_time_works_in_a_folder(tmp_path):
    script = (
        "import sys; from pathlib import Path; "
        "from alexnet_cli.paper.result import lock_output\n"
        f"with lock_output(Path({str(tmp_path)!r})): print('in', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "in\n"
        with pytest.raises(TrainingError, match="another process") as error, lock_output(tmp_path):
            pass
        assert error.value.code == "run_busy"
        other.communicate("")
    with lock_output(tmp_path):
        pass


def test_an_output_that_is_a_file(path):
    path.touch()
    with pytest.raises(AlexnetError, match=path.name), lock_output(path):
        pass
