"""`alexnet reproduce`: a trial of figure 1 on drawn images, stopped once."""

import json
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from scipy import stats

from alexnet_cli.paper.result import write_result
from tests.made_results import finished, result_of

RESULT = Path("reproduction/results/relu.json")
TRIAL = ("reproduce", "relu", "--data", "shapes", "--seeds", "2", "--epochs", "4")


@pytest.mark.alone
@pytest.mark.slow
def test_a_trial_of_figure_1_is_stopped_goes_on_and_is_judged_by_its_runs(alexnet_process):
    stopped = _stop_when_something_is_saved()
    saved = {path.parents[2].name: path.parents[2].stat().st_ino for path in _checkpoints()}
    assert saved
    assert stopped.returncode == 128 + signal.SIGTERM
    assert "hint: rerun the same command to continue" in stopped.stderr
    for name in saved:  # nobody trains on behind our back
        with FileLock(f"reproduction/runs/{name}/.lock", timeout=0):
            pass
    environment = {"ALEXNET_EPOCHS": "1", "ALEXNET_DEBUG": "1"}
    whole = alexnet_process(*TRIAL, "--json", env=environment, timeout_seconds=1500)
    assert whole.returncode == 0, whole.stderr
    document = json.loads(whole.stdout)
    assert document == json.loads(RESULT.read_text())
    assert {run["epochs"] for run in document["searched"]} <= {1, 2, 3, 4}
    kept = {name: Path(f"reproduction/runs/{name}").stat().st_ino for name in saved}
    assert kept == saved  # begun runs were resumed
    _check_search(document)
    _check_verdicts(document)
    again = alexnet_process(*TRIAL, "--json", "-q")
    assert json.loads(again.stdout)["runs"] == document["runs"]  # nothing is trained again
    assert again.stderr == ""


def _stop_when_something_is_saved():
    command = [sys.executable, "-m", "alexnet_cli", *TRIAL]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 100
        while not _checkpoints() and time.monotonic() < end:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=100)
    return subprocess.CompletedProcess(command, process.returncode, "", stderr)


def _checkpoints():
    return list(Path("reproduction/runs").glob("*/checkpoints/step-*/state.json"))


def _check_search(document):
    for arm, rate in document["rates"].items():
        own = [run for run in document["searched"] if run["arm"] == arm]
        reached = {r["learning_rate"]: r["epochs_to_train_error"] for r in own}
        assert set(reached) == {0.01, 0.03}
        assert reached[rate] == min(epochs for epochs in reached.values() if epochs)
    assert {run["seed"] for run in document["runs"]} == {1, 2}


def _check_verdicts(document):
    """Work the ratio and the verdicts out again, from the epochs' logs."""
    epochs = {(run["arm"], run["seed"]): _epochs_to_25(run["log"]) for run in document["runs"]}
    logs = [np.log(epochs["tanh", s] / epochs["relu", s]) for s in (1, 2)]
    low, high = stats.t.interval(0.95, 1, loc=sum(logs) / 2, scale=stats.sem(logs))
    low, high = np.exp([low, high])
    sooner, six = document["claims"]
    assert sooner["interval"] == pytest.approx([low, high], rel=1e-3)
    expected = "agrees" if low > 1 else "differs" if high <= 1 else "not decided"
    assert sooner["verdict"] == expected
    inside = low > 5.5 and high < 6.5
    outside = high <= 5.5 or low >= 6.5
    assert six["verdict"] == ("agrees" if inside else "differs" if outside else "not decided")


def _epochs_to_25(log):
    points = [(0.0, 0.9), *((row[0] - 0.5, 1 - row[3]) for row in log)]
    for (x1, y1), (x2, y2) in pairwise(points):
        if y2 <= 0.25:
            return x1 + (x2 - x1) * (y1 - 0.25) / (y1 - y2)
    raise AssertionError("not reached")


def test_the_list_names_every_experiment(succeed, json_of):
    names = ["relu", "lrn", "overlap", "dropout", "groups", "views", "ladder", "cifar90"]
    assert [each["name"] for each in json_of("reproduce", "--list")] == names
    table = succeed("reproduce", "--list").stdout
    assert all(name in table for name in names)


def test_a_table_of_80_columns_breaks_between_words_only(alexnet):
    arms = ("13pct", "13pct with LRN", "11pct", "11pct without LRN")
    runs = [
        finished(arm, seed, error=0.12 + 0.01 * place + 0.001 * seed, views=10)
        for place, arm in enumerate(arms) for seed in (1, 2, 3)
    ]  # fmt: skip
    write_result(Path("reproduction/results/lrn.json"), result_of("lrn", runs))
    terminal = {"COLUMNS": "80", "FORCE_COLOR": "1", "TERM": "dumb"}
    table = alexnet("reproduce", "lrn", "--seeds", "3", env=terminal).stdout
    assert "…" not in table
    assert max(map(len, table.splitlines()[:-1])) <= 80
    for word in ("lowers", "12.20%", "+1.00", "points", "differs"):
        assert f" {word} " in table


def test_a_damaged_result_is_not_overwritten(alexnet):
    RESULT.parent.mkdir(parents=True)
    RESULT.write_text("{")
    refused = alexnet(*TRIAL)
    assert refused.returncode == 1
    assert "is damaged or not a result of alexnet reproduce" in refused.stderr
    assert RESULT.read_text() == "{"


def test_a_run_that_fails_is_named_with_its_reason(alexnet):
    failed = alexnet("reproduce", "cifar90", "--epochs", "2")  # CIFAR-10 is not there
    assert failed.returncode == 1
    assert "reproduction/runs/alexnet-cifar-seed1-" in failed.stderr
    assert "hint: fetch it with: alexnet download" in failed.stderr
