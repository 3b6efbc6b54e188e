"""Runs in real processes, as small as they can be."""

import json
from pathlib import Path

import pytest
from filelock import FileLock

from alexnet_cli.errors import TrainingError
from alexnet_cli.networks import Network
from alexnet_cli.paper.experiments import EXPERIMENTS, Claim, Experiment, Measure, Quantity
from alexnet_cli.paper.plan import SEARCH_SEED, Protocol, plan_run
from alexnet_cli.paper.runner import Workspace
from alexnet_cli.paper.scheduler import (
    can_be_fastest,
    choose_learning_rates,
    run_all,
    run_experiment,
)
from alexnet_cli.training.run_files import commit, library_versions
from tests.made_results import finished, result_of
from tests.made_runs import make_images

RELU = EXPERIMENTS["relu"]
RUNS = Path("runs")
MANY_EPOCHS = 5_000  # more than there are before the run is stopped
SMALL = {
    "model": Network.CUDA_CONVNET_80SEC, "image_size": 12, "crop_size": 8, "val_size": 10,
    "epochs": 1, "batch_size": 10, "learning_rate": 0.01,
}  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for split, per_class in (("train", 20), ("test", 10)):
        make_images(folder / split, ("ant", "bee"), per_class=per_class)
    return folder


@pytest.fixture
def planned(photos):
    def plan(*measures, seed=1, **settings):
        arms = {"80sec": {**SMALL, "data": str(photos), **settings}}
        claims = tuple(Claim("", "", (0, 1), Quantity("80sec", measure)) for measure in measures)
        return plan_run(Experiment("x", "", "", arms, claims), "80sec", Protocol(1), seed=seed)

    return plan


@pytest.fixture
def trained(planned, alexnet):
    """A run of one epoch that is trained already."""
    run = planned(Measure.EPOCHS)
    where = ("--name", run.name, "--output", RUNS, "--device", "cpu", "--quiet")
    result = alexnet("train", *run.flags, *where)
    assert result.returncode == 0, result.stderr
    return run


def finish(*runs, should_stop=lambda *_: False):
    """Return the finished runs by seed, and the messages."""
    done, messages = [], []
    workspace = Workspace(Path(), 2, "cpu", messages.append)
    run_all(runs, workspace, should_stop=should_stop, on_finished=done.append)
    return sorted(done, key=lambda run: run.seed), messages


def test_a_trained_run_is_tested_as_by_the_command(planned, trained, alexnet):
    run = planned(Measure.TEST_ERROR)
    assert run.name == trained.name
    (done,), messages = finish(run)
    assert (done.key, done.epochs, len(done.log)) == (run.key, 1, 1)
    (test,) = done.tests
    evaluate = ("evaluate", RUNS / run.name, "--split", "test", "--device", "cpu", "--json")
    measured = json.loads(alexnet(*evaluate).stdout)
    assert test.top1 == pytest.approx(measured["top1"], abs=2e-4)  # with another number of threads
    assert (test.num_views, test.num_images) == (1, measured["num_images"]) == (1, 20)
    assert len(messages) == 1  # its outcome; it does not begin


@pytest.mark.slow
def test_several_runs_are_trained_and_tested_at_once_and_found_again(planned):
    runs = [planned(Measure.TEST_ERROR, Measure.TEST_ERROR_10_VIEWS, seed=s) for s in (1, 2)]
    done, messages = finish(*runs)
    assert [message.partition(": ")[2] for message in messages[:2]] == ["begins", "begins"]
    for run, each in zip(runs, done, strict=True):
        assert each.key == run.key
        assert (each.epochs, [test.num_views for test in each.tests]) == (1, [1, 10])
        origin = each.provenance
        assert (origin.commit, origin.ended_with, origin.runs_at_once) == (commit(), "", 2)
        assert origin.versions == library_versions()
    (again,), messages = finish(runs[0])
    assert again.log == done[0].log
    assert len(messages) == 1  # its outcome


@pytest.mark.slow
def test_a_learning_rate_that_is_too_high_is_an_outcome_of_the_search_only(planned):
    run = planned(Measure.EPOCHS, seed=SEARCH_SEED, batch_size=2, learning_rate=100.0)
    (done,), _ = finish(run)
    assert (done.epochs, done.epochs_to_train_error, done.log) == (0, None, ())
    with pytest.raises(TrainingError, match="no longer finite") as error:
        finish(planned(Measure.TEST_ERROR, batch_size=2, learning_rate=100.0))
    assert error.value.hint.startswith("try it alone: alexnet train --model cuda-convnet-80sec")


@pytest.mark.slow
def test_a_stopped_run_is_resumed_from_what_was_saved(planned):
    run = planned(Measure.EPOCHS, epochs=MANY_EPOCHS)
    (short,), _ = finish(run, should_stop=lambda _, history: len(history) >= 2)
    assert 2 <= short.epochs < MANY_EPOCHS
    metrics = RUNS / run.name / "metrics.csv"
    last = metrics.read_text().splitlines()[-1].partition(",")[2]
    with metrics.open("a") as file:  # epochs that are logged but not saved
        file.writelines(f"{number},{last}\n" for number in range(short.epochs + 1, MANY_EPOCHS))
    more = short.epochs + 2
    (longer,), messages = finish(run, should_stop=lambda _, history: len(history) >= more)
    assert more <= longer.epochs < MANY_EPOCHS - 1
    assert longer.log[: short.epochs] == short.log  # nothing was repeated
    assert messages[0].endswith("resumes")


def test_a_folder_with_other_settings_is_an_error(planned, trained):
    other = planned(Measure.EPOCHS, learning_rate=0.02)
    (RUNS / trained.name).rename(RUNS / other.name)
    with pytest.raises(TrainingError, match="its settings differ"):
        finish(other)


def test_a_run_with_damaged_checkpoints_only_is_kept(trained):
    saved = list((RUNS / trained.name).glob("checkpoints/*/*.safetensors"))
    assert saved
    for path in saved:
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(TrainingError, match="cannot be resumed") as error:
        finish(trained)
    assert error.value.hint.startswith("move it away to train it again: mv runs/")
    assert all(path.stat().st_size == 100 for path in saved)


def test_a_run_without_its_provenance_is_an_error(trained):
    environment = RUNS / trained.name / "environment.json"
    for content in ("", "[]", "{}", "{nothing", None):
        environment.unlink() if content is None else environment.write_text(content)
        with pytest.raises(TrainingError, match="is damaged: the provenance"):
            finish(trained)


def test_one_process_at_a_time_uses_an_output_folder():
    with FileLock(".lock"), pytest.raises(TrainingError, match="another process") as error:
        run_experiment(RELU, Protocol(1), Workspace(Path(), 1, "cpu", print))
    assert error.value.code == "run_busy"


def test_the_fastest_learning_rate_is_chosen_and_the_lower_of_equals():
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
def test_an_arm_that_never_reaches_the_error_is_an_error(max_epochs):
    searched = [finished("relu", 0, epochs=4.0), finished("tanh", 0, epochs=None)]
    result = result_of("relu", searched=searched, max_epochs=max_epochs)
    with pytest.raises(TrainingError, match="tanh did not reach") as error:
        choose_learning_rates(RELU, result)
    assert error.value.code == "not_reached"
    assert (error.value.hint is None) == (max_epochs == 0)


def test_a_learning_rate_is_given_up_when_it_can_no_longer_be_the_fastest():
    others = [finished("relu", 0, epochs=4.2), finished("tanh", 0, epochs=1.0)]
    assert can_be_fastest("relu", 4, others)  # it may still turn out to be reached at 3.9
    assert not can_be_fastest("relu", 5, others)  # it cannot be reached before 4.5
    assert can_be_fastest("relu", 40, [])
