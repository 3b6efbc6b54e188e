import json
import subprocess
import sys

import pytest
from filelock import FileLock

from alexnet_cli.errors import AlexnetError, TrainingError
from alexnet_cli.paper.experiments import find_experiment
from alexnet_cli.paper.result_file import alone_in, read_result, to_document, write_result
from alexnet_cli.paper.tables import judged
from alexnet_cli.paper.verdict import Verdict
from tests.made_results import finished, relu_runs, result_of

RESULT = result_of("relu", relu_runs())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results" / "relu.json"


def test_a_result_comes_back_as_it_was(path):
    result = result_of("relu", relu_runs(), searched=[finished("relu", 0, rate=0.03)])
    write_result(path, result)
    assert read_result(path) == result
    assert "[1.0, 0.01, 2.0, 0.5, 2.0, 0.5, 10.0, 1.0]" in path.read_text()  # an epoch is a line


def test_the_verdict_is_that_of_the_runs_not_of_the_file(path):
    write_result(path, RESULT)
    document = json.loads(path.read_text())
    assert [each["verdict"] for each in document["claims"]] == ["agrees", "agrees"]
    slower = [run.model_copy(update={"epochs_to_train_error": 5.0}) for run in RESULT.runs]
    document["runs"] = to_document(result_of("relu", slower))["runs"]
    path.write_text(json.dumps(document))
    verdicts = [each.verdict for each in judged(find_experiment("relu"), read_result(path))]
    assert verdicts == [Verdict.DIFFERS, Verdict.DIFFERS]


@pytest.mark.parametrize(
    ("terms", "marks"),
    [
        ({}, (False, False)),
        ({"most_epochs": 4}, (True, False)),
        ({"data": "shapes", "most_epochs": 60}, (False, True)),
    ],
)
def test_the_file_says_what_its_verdicts_are_about(terms, marks):
    document = to_document(result_of("relu", relu_runs(), **terms))
    assert {each["is_shortened"] for each in document["claims"]} == {marks[0]}
    assert document["is_trial"] == marks[1]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'{"kind": "benchmark", "schema_version": 1}', b"\xff", b"[" * 9999],
)
def test_a_file_that_is_none(content, tmp_path):
    path = tmp_path / "relu.json"
    path.write_bytes(content)
    with pytest.raises(AlexnetError, match="is not a result of alexnet reproduce, or damaged"):
        read_result(path)


@pytest.mark.parametrize("key", ["experiment", "terms", "rates", "runs", "searched"])
@pytest.mark.parametrize("value", [None, 7, [7], {"7": []}, [{"arm": 7}], ...])
def test_a_damaged_file(key, value, path):
    write_result(path, RESULT)
    document = json.loads(path.read_text())
    document[key] = value
    if value is ...:
        del document[key]
    path.write_text(json.dumps(document))
    with pytest.raises(AlexnetError):
        read_result(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("provenance", {}), ("log", [[1]]), ("epochs_to_train_error", 0), ("tests", [{"top1": 2}])],
)
def test_a_damaged_run(key, value, path):
    write_result(path, RESULT)
    document = json.loads(path.read_text())
    document["runs"][1][key] = value
    path.write_text(json.dumps(document))
    with pytest.raises(AlexnetError, match=rf"runs\.1\.{key}"):
        read_result(path)


@pytest.mark.parametrize("name", ["runs", "searched"])
def test_runs_of_other_settings_are_not_judged(name, path):
    other = finished("relu", 0 if name == "searched" else 1, epochs=4.0, key="of another version")
    write_result(path, result_of("relu", **{name: [other]}))
    with pytest.raises(AlexnetError, match="1 runs of other settings") as error:
        read_result(path)
    assert error.value.code == "result_differs"
    assert error.value.hint == f"keep it elsewhere: mv {path} {path}.old"


def test_a_number_that_is_none(path):
    write_result(path, RESULT)
    path.write_text(path.read_text().replace('"learning_rate": 0.01', '"learning_rate": NaN'))
    with pytest.raises(AlexnetError, match="learning_rate"):
        read_result(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(AlexnetError, match="cannot be read"):
        read_result(tmp_path / "none.json")


def test_one_process_at_a_time_works_in_a_folder(tmp_path):
    script = (
        "import sys; from pathlib import Path; "
        "from alexnet_cli.paper.result_file import alone_in\n"
        f"with alone_in(Path({str(tmp_path)!r})): print('in', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "in\n"
        with pytest.raises(TrainingError, match="another process") as error, alone_in(tmp_path):
            pass
        assert error.value.code == "run_busy"
        other.communicate("")
    with alone_in(tmp_path), pytest.raises(TimeoutError):
        FileLock(tmp_path / ".lock", timeout=0).acquire()


def test_a_folder_that_cannot_be_one(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AlexnetError, match="file"), alone_in(tmp_path / "file"):
        pass
