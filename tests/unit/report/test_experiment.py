import pytest

from alexnet_cli.paper.experiments import EXPERIMENTS, find_experiment
from alexnet_cli.report.experiment import view_experiment
from alexnet_cli.report.page import render
from tests.made_results import finished, result_of
from tests.unit.report.test_page import Page

LOG = tuple((float(e), 0.01, 1.0, 0.3 + 0.1 * e, 1.5, 0.5, 10.0, 1.0) for e in range(1, 6))


def trained(name, *, num_seeds=3):
    experiment = find_experiment(name)
    runs = tuple(
        finished(arm, seed, epochs=4.5, error=0.1 + seed / 100, views=views, log=LOG)
        for arm in experiment.arms for seed in range(1, num_seeds + 1)
        for views in [next(q.measure.num_views for q in experiment.quantities if q.arm == arm) or 1]
    )  # fmt: skip
    return result_of(name, runs, num_seeds=num_seeds)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_each_experiment_has_a_section_with_plot_claims_and_runs(name):
    result, experiment = trained(name), find_experiment(name)
    page = Page(render([], [result]))
    assert experiment.title in page.texts
    assert all(claim.text in page.texts for claim in experiment.claims)
    (figure,) = [each for each in page.of("svg") if each.get("role") == "img"]
    assert len(figure["aria-label"]) > 30
    assert page.texts.count(f"alexnet reproduce {name} --seeds 3") == 1


@pytest.mark.parametrize(("name", "has_tests"), [("relu", False), ("lrn", True)])
def test_use_of_the_test_set_is_stated(name, has_tests):
    page = Page(render([], [trained(name)]))
    assert ("test set" in page.texts) == has_tests


def test_a_result_without_runs_has_a_page():
    page = Page(render([], [result_of(name) for name in EXPERIMENTS]))
    assert page.text.count("No run that counts has finished yet") == len(EXPERIMENTS)


def test_figure_1_has_a_description():
    assert (
        'aria-label="training error by epoch, 25 % marked: relu reaches it after 4.5, 4.5, 4.5 '
        'epochs; tanh reaches it after 4.5, 4.5, 4.5 epochs"'
    ) in view_experiment(trained("relu"), 0)["figure"]


def test_published_errors_are_in_the_plot():
    figure = view_experiment(trained("ladder"), 0)["figure"]
    assert "80sec 11.0%, 12.0%, 13.0%, published 26.0%" in figure
    assert "19pct with crops, 10 views" in figure
    assert "published 14.2%" in figure


def test_a_run_and_experiments_stand_in_one_page(examined):
    page = Page(render([examined], [trained(name) for name in EXPERIMENTS]))
    ids = page.values("id")
    assert len(set(ids)) == len(ids)
    assert f"experiment-{len(EXPERIMENTS) - 1}" in ids
    assert "run-A-name" in ids


def test_one_seed_is_enough_to_be_shown():
    claims = view_experiment(trained("cifar90", num_seeds=1), 0)["claims"]
    assert claims[0][-1] == "not decided"
    assert claims[0][3] == "–"
