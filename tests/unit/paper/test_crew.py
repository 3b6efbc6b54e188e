"""Runs in real processes, as small as they can be."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from alexnet_cli.errors import TrainingError
from alexnet_cli.networks import Network
from alexnet_cli.paper.experiments import Arm, Claim, Experiment, Measure, Side
from alexnet_cli.paper.plan import SEARCH_SEED, Terms, plan_run
from alexnet_cli.paper.scheduler import Crew, Place
from alexnet_cli.training.run_files import commit, library_versions
from tests.made_runs import make_images

SMALL = {
    "model": Network.CUDA_CONVNET_80SEC, "image_size": 12, "crop_size": 8, "val_size": 10,
    "epochs": 1, "batch_size": 10, "learning_rate": 0.01,
}  # fmt: skip
PLACE = Place(Path("runs"), 2, "cpu")
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
        claims = tuple(Claim("", "", Side("80sec", measure), (0.0, 1.0)) for measure in measures)
        return plan_run(Experiment("x", "", "", (arm,), claims), arm, Terms(1), seed=seed)

    return plan


@pytest.fixture
def trained(planned, alexnet):
    """A run of one epoch that is there already."""
    run = planned(Measure.EPOCHS)
    where = ("--name", run.name, "--output", PLACE.runs, "--device", PLACE.device, "--quiet")
    result = alexnet("train", *run.flags, *where)
    assert result.returncode == 0, result.stderr
    return run


def carry_out(*runs, is_enough=lambda *_: False):
    ended, told = [], []
    Crew(PLACE, told.append).carry_out(runs, is_enough=is_enough, keep=ended.append)
    return ended, told


def assert_measured(run, result, alexnet):
    """Compare the tests of a result with what the command says of its run."""
    for test in result.tests:
        arguments = ("--views", str(test.num_views), "--device", "cpu", "--json")
        measured = json.loads(alexnet("evaluate", PLACE.runs / run.name, *arguments).stdout)
        assert test.top1 == pytest.approx(measured["top1"], abs=2e-4)  # other threads
        assert test.num_images == measured["num_images"] == 20


def test_a_run_is_trained_and_measured_as_the_commands_do(planned, alexnet):
    run = planned(Measure.TEST_ERROR)
    (result,), told = carry_out(run)
    assert (result.key, result.epochs, len(result.log)) == (run.key, 1, 1)
    assert [test.num_views for test in result.tests] == [1]
    assert_measured(run, result, alexnet)
    assert (result.provenance.commit, result.provenance.runs_at_once) == (commit(), 1)
    assert told[0].endswith("begins")


@pytest.mark.slow
def test_several_runs_are_trained_and_measured_at_once(planned, alexnet):
    runs = [planned(Measure.TEST_ERROR, Measure.TEST_ERROR_10_VIEWS, seed=s) for s in (1, 2)]
    ended, told = carry_out(*runs)
    assert {run.key for run in ended} == {run.key for run in runs}
    for run, result in zip(runs, sorted(ended, key=lambda each: each.seed), strict=True):
        assert (result.epochs, [test.num_views for test in result.tests]) == (1, [1, 10])
        assert_measured(run, result, alexnet)
        origin = result.provenance
        assert (origin.commit, origin.ended_with, origin.runs_at_once) == (commit(), "", 2)
        assert origin.versions == library_versions()
    assert [line.partition(": ")[2] for line in told[:2]] == ["begins", "begins"]
    again, told_again = carry_out(runs[0])
    assert again[0].log == sorted(ended, key=lambda each: each.seed)[0].log
    assert not any("begins" in line or "goes on" in line for line in told_again)


@pytest.mark.slow
def test_a_rate_that_is_too_high_is_an_outcome_of_a_search_only(planned):
    run = planned(Measure.EPOCHS, seed=SEARCH_SEED, batch_size=2, learning_rate=100.0)
    (result,), _ = carry_out(run)
    assert (result.epochs, result.epochs_to_train_error, result.log) == (0, None, ())
    with pytest.raises(TrainingError, match="no longer finite") as error:
        carry_out(planned(Measure.TEST_ERROR, batch_size=2, learning_rate=100.0))
    assert error.value.hint.startswith("try it alone: alexnet train --model cuda-convnet-80sec")


@pytest.mark.slow
def test_a_run_is_asked_to_stop_when_it_is_enough_and_goes_on_when_it_is_not(planned):
    run = planned(Measure.EPOCHS, epochs=MANY)
    (short,), _ = carry_out(run, is_enough=lambda _, history: len(history) >= 2)
    assert 2 <= short.epochs < MANY
    more = short.epochs + 2
    (longer,), told = carry_out(run, is_enough=lambda _, history: len(history) >= more)
    assert longer.epochs >= more
    assert longer.log[: short.epochs] == short.log  # nothing was repeated
    assert told[0].endswith("goes on")


def test_a_folder_with_other_settings_is_not_taken_for_the_run(planned, trained):
    other = planned(Measure.EPOCHS, learning_rate=0.02)
    (PLACE.runs / trained.name).rename(PLACE.runs / other.name)
    with pytest.raises(TrainingError, match="has other settings than its name says"):
        carry_out(other)


def test_a_run_whose_checkpoints_are_all_damaged_is_not_begun_anew_unasked(trained):
    saved = list((PLACE.runs / trained.name / "checkpoints").glob("*/*.safetensors"))
    assert saved
    for path in saved:
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(TrainingError, match="cannot go on") as error:
        carry_out(trained)
    assert error.value.hint.startswith("move it away, to begin it anew: mv runs/")
    assert all(path.stat().st_size == 100 for path in saved)


def test_a_run_that_lost_where_it_comes_from_is_refused(trained):
    environment = PLACE.runs / trained.name / "environment.json"
    for content in ("", "[]", "{}", "{nothing", None):
        environment.unlink() if content is None else environment.write_text(content)
        with pytest.raises(TrainingError, match="is damaged: where the run comes from"):
            carry_out(trained)


@pytest.mark.slow
def test_epochs_that_are_logged_but_not_saved_are_not_taken_for_enough(planned):
    run = planned(Measure.EPOCHS, epochs=MANY)
    (short,), _ = carry_out(run, is_enough=lambda _, history: len(history) >= 2)
    log = PLACE.runs / run.name / "metrics.csv"
    last = log.read_text().splitlines()[-1].partition(",")[2]
    with log.open("a") as file:
        file.writelines(f"{number},{last}\n" for number in range(short.epochs + 1, MANY))
    (longer,), _ = carry_out(run, is_enough=lambda _, history: len(history) >= short.epochs + 2)
    assert short.epochs + 2 <= longer.epochs < MANY - 1


def test_no_more_runs_at_once_than_there_are():
    assert [replace(PLACE, jobs=4).at_once(number) for number in (0, 1, 3, 9)] == [1, 1, 3, 4]
