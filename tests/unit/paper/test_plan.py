import json
import shlex

import pytest
from typer.testing import CliRunner

from alexnet_cli.cli.app import build_app
from alexnet_cli.config.recipes import recipe_settings
from alexnet_cli.config.schema import Recipe, TrainConfig
from alexnet_cli.networks import Network
from alexnet_cli.paper.experiments import EXPERIMENTS, Measure
from alexnet_cli.paper.plan import (
    Protocol,
    is_shortened,
    num_epochs_published,
    plan_run,
    plan_search,
    plan_seeds,
)
from alexnet_cli.training.setup import plan_training

RELU, LADDER, CIFAR90 = EXPERIMENTS["relu"], EXPERIMENTS["ladder"], EXPERIMENTS["cifar90"]


@pytest.mark.parametrize(
    "protocol", [Protocol(2), Protocol(1, max_epochs=14), Protocol(1, data="shapes")]
)
def test_the_command_of_a_run_trains_what_is_planned(protocol):
    app = build_app(only="config")
    runs = [
        run
        for experiment in EXPERIMENTS.values()
        for run in plan_search(experiment, protocol) + plan_seeds(experiment, protocol, {})
    ]
    for run in {run.name: run for run in runs}.values():
        program, *arguments = shlex.split(run.command)
        assert (program, arguments[0]) == ("alexnet", "train")
        result = CliRunner().invoke(app, ["config", *arguments[1:], "--json"])
        assert result.exit_code == 0, result.output
        values = {name: each["value"] for name, each in json.loads(result.stdout).items()}
        assert TrainConfig(**values) == run.config
        plan_training(run.config)  # sizes and network fit


def test_experiments_with_equal_settings_share_a_run():
    names = {
        name: {run.name for run in plan_seeds(each, Protocol(3), {})}
        for name, each in EXPERIMENTS.items()
    }
    assert names["cifar90"] == names["views"]
    assert names["cifar90"] < names["dropout"]
    assert len(names["ladder"] & names["lrn"]) == 6


def test_cifar90_is_the_default_training():
    run = plan_run(CIFAR90, "alexnet-cifar", Protocol(1), seed=1)
    recipe = recipe_settings(Recipe.PAPER, Network.ALEXNET_CIFAR, "cifar10")
    assert run.config == TrainConfig(seed=1, **recipe)
    assert run.command == "alexnet train --seed 1"
    assert run.measures == (Measure.TEST_ERROR, Measure.TEST_ERROR_10_VIEWS)


def test_all_arms_of_a_seed_come_before_the_next_seed():
    runs = plan_seeds(RELU, Protocol(3), {"relu": 0.01, "tanh": 0.003})
    assert [(run.config.seed, run.arm, run.config.learning_rate) for run in runs] == [
        (seed, arm, rate) for seed in (1, 2, 3) for arm, rate in (("relu", 0.01), ("tanh", 0.003))
    ]


def test_the_search_tries_all_learning_rates_with_seed_0_from_the_middle():
    search = plan_search(RELU, Protocol(3))
    assert {run.config.seed for run in search} == {0}
    assert [run.config.learning_rate for run in search[:2]] == [0.003, 0.003]
    tried = {(run.arm, run.config.learning_rate) for run in search}
    assert tried == {(arm, rate) for arm in ("relu", "tanh") for rate in RELU.learning_rates}


def test_the_networks_of_figure_1_differ_in_the_activation_only():
    relu, tanh = (plan_run(RELU, arm, Protocol(1), seed=1).config for arm in RELU.arms)
    assert relu.model_copy(update={"activation": tanh.activation}) == tanh
    assert (relu.weight_decay, relu.flip, relu.colour_noise, relu.dropout) == (0, False, 0, 0)


def test_a_shortened_training_keeps_the_shape_of_its_schedule():
    assert num_epochs_published(LADDER, "13pct") == 160
    config = plan_run(LADDER, "13pct", Protocol(1, max_epochs=16), seed=1).config
    assert (config.epochs, config.stages) == (16, (14, 15))
    config = plan_run(CIFAR90, "alexnet-cifar", Protocol(1, max_epochs=45), seed=1).config
    assert (config.epochs, config.patience) == (45, 5)  # of 90 and 10


def test_only_longer_training_is_shortened():
    protocol = Protocol(1, max_epochs=20)
    epochs = {run.arm: run.config.epochs for run in plan_seeds(LADDER, protocol, {})}
    assert epochs == {**dict.fromkeys(LADDER.arms, 20), "80sec": 10}
    assert protocol.command("ladder") == "alexnet reproduce ladder --epochs 20 --seeds 1"
    marks = [is_shortened(LADDER, claim, protocol) for claim in LADDER.claims]
    assert marks == [False, True, True, True, True, True]


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_the_claims_are_about_the_arms(experiment):
    claimed = {quantity.arm for claim in experiment.claims for quantity in claim.quantities}
    assert claimed == set(experiment.arms)
    assert all(claim.region[0] < claim.region[1] for claim in experiment.claims)
