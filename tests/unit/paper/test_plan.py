import json
import shlex

import pytest
from typer.testing import CliRunner

from alexnet_cli.config.recipes import recipe_settings
from alexnet_cli.config.schema import Recipe, TrainConfig
from alexnet_cli.errors import UsageError
from alexnet_cli.networks import Network
from alexnet_cli.paper.experiments import EXPERIMENTS, Measure, find_experiment
from alexnet_cli.paper.plan import (
    DATA,
    Protocol,
    is_shortened,
    num_epochs_published,
    plan_run,
    plan_search,
    plan_seeds,
)

PROTOCOLS = [Protocol(2), Protocol(1, max_epochs=14), Protocol(1, data="shapes")]


def all_runs(protocol):
    for experiment in EXPERIMENTS.values():
        yield from plan_search(experiment, protocol)
        yield from plan_seeds(experiment, protocol, {})


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_command_trains_what_is_planned(protocol, alexnet_app):
    for run in {run.name: run for run in all_runs(protocol)}.values():
        words = shlex.split(run.command)
        assert words[:2] == ["alexnet", "train"]
        assert TrainConfig(**alexnet_app(*words[1:], "--dry-run")) == run.config


@pytest.fixture
def alexnet_app():
    from alexnet_cli.cli.app import build_app

    app = build_app(only="train")

    def call(*arguments):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return call


def test_equal_settings_share_a_run_whichever_experiment_asks():
    by_experiment = {
        name: {run.name for run in plan_seeds(each, Protocol(3), {})}
        for name, each in EXPERIMENTS.items()
    }
    assert by_experiment["cifar90"] == by_experiment["views"]
    assert by_experiment["cifar90"] < by_experiment["dropout"]
    assert len(by_experiment["ladder"] & by_experiment["lrn"]) == 6


def test_the_default_run_is_the_users_own():
    cifar90 = find_experiment("cifar90")
    run = plan_run(cifar90, cifar90.arms[0], Protocol(1), seed=1)
    own = recipe_settings(Recipe.PAPER, Network.ALEXNET_CIFAR, "cifar10")
    assert run.config == TrainConfig(seed=1, **own)
    assert run.command == "alexnet train --seed 1"
    assert run.measures == (Measure.TEST_ERROR, Measure.TEST_ERROR_10_VIEWS)


def test_seeds_come_in_turns_and_not_from_the_search():
    relu = find_experiment("relu")
    runs = plan_seeds(relu, Protocol(3), {"relu": 0.01, "tanh": 0.003})
    assert [(run.arm, run.config.seed) for run in runs] == [
        (arm, seed) for seed in (1, 2, 3) for arm in ("relu", "tanh")
    ]
    assert {run.arm: run.config.learning_rate for run in runs} == {"relu": 0.01, "tanh": 0.003}
    search = plan_search(relu, Protocol(3))
    assert {run.config.seed for run in search} == {0}
    assert [run.config.learning_rate for run in search[:2]] == [0.003, 0.003]
    tried = {(run.arm, run.config.learning_rate) for run in search}
    assert tried == {(arm, rate) for arm in ("relu", "tanh") for rate in relu.learning_rates}


def test_the_networks_of_figure_1_differ_in_nothing_but_the_activation():
    relu = find_experiment("relu")
    one, two = (plan_run(relu, arm, Protocol(1), seed=1).config for arm in relu.arms)
    assert one.model_copy(update={"activation": two.activation}) == two
    assert (one.weight_decay, one.flip, one.colour_noise, one.dropout) == (0, False, 0, 0)


def test_a_shortened_protocol_keeps_its_shape():
    ladder = find_experiment("ladder")
    arm = next(arm for arm in ladder.arms if arm.name == "13pct")
    assert num_epochs_published(ladder, arm) == 160
    config = plan_run(ladder, arm, Protocol(1, max_epochs=16), seed=1).config
    assert (config.epochs, config.stages) == (16, (14, 15))


def test_only_longer_training_is_shortened():
    ladder, cifar90 = find_experiment("ladder"), find_experiment("cifar90")
    protocol = Protocol(1, max_epochs=20)
    epochs = {run.arm: run.config.epochs for run in plan_seeds(ladder, protocol, {})}
    assert epochs == {"80sec": 10} | dict.fromkeys([arm.name for arm in ladder.arms[1:]], 20)
    marks = [is_shortened(ladder, claim, protocol) for claim in ladder.claims]
    assert marks == [False, True, True, True, True, True]
    config = plan_seeds(cifar90, Protocol(1, max_epochs=45), {})[0].config
    assert (config.epochs, config.patience) == (45, 5)  # of 90 and 10


def test_claims_are_about_arms_that_there_are():
    for experiment in EXPERIMENTS.values():
        names = [arm.name for arm in experiment.arms]
        assert len(set(names)) == len(names)
        claimed = {each.arm for claim in experiment.claims for each in claim.quantities}
        assert claimed == set(names)
        for claim in experiment.claims:
            assert claim.region[0] < claim.region[1]


def test_an_unknown_experiment():
    with pytest.raises(UsageError, match="unknown experiment 'relo'"):
        find_experiment("relo")
    assert TrainConfig().data == DATA
