"""Runs in real processes, as small as they can be."""

import json
from pathlib import Path

import pytest

from alexnet_cli.errors import TrainingError
from alexnet_cli.networks import Network
from alexnet_cli.paper.experiments import (
    Arm,
    Claim,
    Experiment,
    Measure,
    Quantity,
    find_experiment,
)
from alexnet_cli.paper.plan import SEARCH_SEED, Protocol, plan_run
from alexnet_cli.paper.runner import Workspace
from alexnet_cli.paper.scheduler import Scheduler, can_be_fastest, choose_learning_rates
from alexnet_cli.training.run_files import commit, library_versions
from tests.made_results import finished, result_of
from tests.made_runs import make_images

SMALL = {
    "model": Network.CUDA_CONVNET_80SEC, "image_size": 12, "crop_size": 8, "val_size": 10,
    "epochs": 1, "batch_size": 10, "learning_rate": 0.01,
}  # fmt: skip
WORKSPACE = Workspace(Path("runs"), 2, "cpu")
MANY = 5_000  # epochs: more than there are before it is asked to stop


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for split, per_class in (("train", 20), ("test", 10)):
        make_images(folder / split, ("ant", "bee"), per_class=per_class)
    return folder


@pytest.fixture
def planned(photos):
    def plan(*measures, seed=1, **settings):
        arm = Arm("80sec", {**SMALL, "data": str(photos), **settings})
        quantities = [Quantity("80sec", measure) for measure in measures]
        claims = tuple(Claim("", "", each, (0.0, 1.0)) for each in quantities)
        return plan_run(Experiment("x", "", "", (arm,), claims), arm, Protocol(1), seed=seed)

    return plan


@pytest.fixture
def trained(planned, alexnet):
    """A run of one epoch that is there already."""
    run = planned(Measure.EPOCHS)
    where = ("--name", run.name, "--output", WORKSPACE.runs, "--device", "cpu", "--quiet")
    result = alexnet("train", *run.flags, *where)
    assert result.returncode == 0, result.stderr
    return run


def run_all(*runs, should_stop=lambda *_: False):
    """Return the finished runs, and the messages."""
    ended, messages = [], []
    scheduler = Scheduler(WORKSPACE, messages.append)
    scheduler.run(runs, should_stop=should_stop, on_finished=ended.append)
    return ended, messages


def assert_measured(run, result, alexnet):
    """Compare the tests of a result with what the command says of its run."""
    for test in result.tests:
        arguments = ("--views", str(test.num_views), "--device", "cpu", "--json")
        measured = json.loads(alexnet("evaluate", WORKSPACE.runs / run.name, *arguments).stdout)
        assert test.top1 == pytest.approx(measured["top1"], abs=2e-4)  # other threads
        assert test.num_images == measured["num_images"] == 20


def test_a_run_is_trained_and_tested_as_by_the_commands(planned, alexnet):
    run = planned(Measure.TEST_ERROR)
    (result,), messages = run_all(run)
    assert (result.key, result.epochs, len(result.log)) == (run.key, 1, 1)
    assert [test.num_views for test in result.tests] == [1]
    assert_measured(run, result, alexnet)
    assert (result.provenance.commit, result.provenance.runs_at_once) == (commit(), 1)
    assert messages[0].endswith("begins")


@pytest.mark.slow
def test_several_runs_are_trained_and_tested_at_once(planned, alexnet):
    runs = [planned(Measure.TEST_ERROR, Measure.TEST_ERROR_10_VIEWS, seed=s) for s in (1, 2)]
    ended, messages = run_all(*runs)
    assert {run.key for run in ended} == {run.key for run in runs}
    for run, result in zip(runs, sorted(ended, key=lambda each: each.seed), strict=True):
        assert (result.epochs, [test.num_views for test in result.tests]) == (1, [1, 10])
        assert_measured(run, result, alexnet)
        origin = result.provenance
        assert (origin.commit, origin.ended_with, origin.runs_at_once) == (commit(), "", 2)
        assert origin.versions == library_versions()
    assert [line.partition(": ")[2] for line in messages[:2]] == ["begins", "begins"]
    again, messages_again = run_all(runs[0])
    assert again[0].log == sorted(ended, key=lambda each: each.seed)[0].log
    assert not any("begins" in line or "resumes" in line for line in messages_again)


@pytest.mark.slow
def test_a_learning_rate_that_is_too_high_is_an_outcome_of_the_search_only(planned):
    run = planned(Measure.EPOCHS, seed=SEARCH_SEED, batch_size=2, learning_rate=100.0)
    (result,), _ = run_all(run)
    assert (result.epochs, result.epochs_to_train_error, result.log) == (0, None, ())
    with pytest.raises(TrainingError, match="no longer finite") as error:
        run_all(planned(Measure.TEST_ERROR, batch_size=2, learning_rate=100.0))
    assert error.value.hint.startswith("try it alone: alexnet train --model cuda-convnet-80sec")


@pytest.mark.slow
def test_a_run_stops_when_it_should_and_is_resumed_otherwise(planned):
    run = planned(Measure.EPOCHS, epochs=MANY)
    (short,), _ = run_all(run, should_stop=lambda _, history: len(history) >= 2)
    assert 2 <= short.epochs < MANY
    more = short.epochs + 2
    (longer,), messages = run_all(run, should_stop=lambda _, history: len(history) >= more)
    assert longer.epochs >= more
    assert longer.log[: short.epochs] == short.log  # nothing was repeated
    assert messages[0].endswith("resumes")


def test_a_folder_with_other_settings_is_an_error(planned, trained):
    other = planned(Measure.EPOCHS, learning_rate=0.02)
    (WORKSPACE.runs / trained.name).rename(WORKSPACE.runs / other.name)
    with pytest.raises(TrainingError, match="its settings differ"):
        run_all(other)


def test_a_run_with_damaged_checkpoints_alone_is_kept(trained):
    saved = list((WORKSPACE.runs / trained.name / "checkpoints").glob("*/*.safetensors"))
    assert saved
    for path in saved:
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(TrainingError, match="cannot be resumed") as error:
        run_all(trained)
    assert error.value.hint.startswith("move it away to train it again: mv runs/")
    assert all(path.stat().st_size == 100 for path in saved)


def test_a_run_without_its_provenance_is_an_error(trained):
    environment = WORKSPACE.runs / trained.name / "environment.json"
    for content in ("", "[]", "{}", "{nothing", None):
        environment.unlink() if content is None else environment.write_text(content)
        with pytest.raises(TrainingError, match="is damaged: the provenance"):
            run_all(trained)


@pytest.mark.slow
def test_epochs_that_are_logged_but_not_saved_do_not_count(planned):
    run = planned(Measure.EPOCHS, epochs=MANY)
    (short,), _ = run_all(run, should_stop=lambda _, history: len(history) >= 2)
    log = WORKSPACE.runs / run.name / "metrics.csv"
    last = log.read_text().splitlines()[-1].partition(",")[2]
    with log.open("a") as file:
        file.writelines(f"{number},{last}\n" for number in range(short.epochs + 1, MANY))
    (longer,), _ = run_all(run, should_stop=lambda _, history: len(history) >= short.epochs + 2)
    assert short.epochs + 2 <= longer.epochs < MANY - 1


RELU = find_experiment("relu")


def test_the_fastest_learning_rate_is_chosen_and_the_smaller_of_equals():
    searched = [
        finished("relu", 0, rate=0.001, epochs=6.0),
        finished("relu", 0, rate=0.003, epochs=4.0),
        finished("relu", 0, rate=0.01, epochs=4.0),
        finished("relu", 0, rate=0.03, epochs=None),
        finished("tanh", 0, rate=0.001, epochs=None),
        finished("tanh", 0, rate=0.01, epochs=20.0),
    ]
    result = result_of("relu", searched=searched)
    assert choose_learning_rates(RELU, result) == {"relu": 0.003, "tanh": 0.01}


@pytest.mark.parametrize("max_epochs", [0, 4])
def test_without_a_learning_rate_that_reaches_the_error_there_is_no_result(max_epochs):
    searched = [finished("relu", 0, epochs=4.0), finished("tanh", 0, epochs=None)]
    result = result_of("relu", searched=searched, max_epochs=max_epochs)
    with pytest.raises(TrainingError, match="tanh did not reach") as error:
        choose_learning_rates(RELU, result)
    assert error.value.code == "not_reached"
    assert (error.value.hint is None) == (max_epochs == 0)


def test_a_learning_rate_is_given_up_when_it_can_no_longer_be_fastest():
    others = [finished("relu", 0, epochs=4.2), finished("tanh", 0, epochs=1.0)]
    assert can_be_fastest("relu", 4, others)  # it may still turn out to be reached at 3.9
    assert not can_be_fastest("relu", 5, others)  # its next crossing is after 4.5
    assert can_be_fastest("relu", 40, [])
