import pytest

from alexnet_cli.config.recipes import (
    describe_quicker_recipe,
    recipe_fields,
    recipe_settings,
    reconcile_recipe,
)
from alexnet_cli.config.schema import Recipe, TrainConfig
from alexnet_cli.errors import UsageError
from alexnet_cli.networks import Network


@pytest.mark.parametrize("name", Network)
@pytest.mark.parametrize("recipe", Recipe)
def test_every_recipe_is_a_valid_configuration_or_refused(name, recipe):
    if recipe is Recipe.FAST and name.startswith("cuda-convnet"):
        with pytest.raises(UsageError, match="no fast recipe"):
            recipe_settings(recipe, name, "cifar10")
        return
    config = TrainConfig(model=name, **recipe_settings(recipe, name, "cifar10"))
    assert config.recipe is Recipe.PAPER  # the recipe itself is the caller's to set


def test_what_no_recipe_sets_has_one_default():
    fields = recipe_fields()
    assert {"epochs", "learning_rate", "init", "drop_epochs"} <= fields
    assert not {"data", "batch_size", "seed", "val_size"} & fields


def test_krizhevskys_networks_have_their_own_published_training():
    config = TrainConfig(
        model="cuda-convnet-80sec",
        **recipe_settings(Recipe.PAPER, Network.CUDA_CONVNET_80SEC, "cifar10"),
    )
    assert (config.learning_rate, config.epochs, config.stages) == (0.001, 10, (8,))
    assert (config.bias_rate_factor, config.bias_decay, config.flip) == (2.0, False, False)


def test_the_papers_rate_is_the_default_and_without_lrn_it_is_warmed_up():
    for data in ("cifar10", "photos"):
        assert recipe_settings(Recipe.PAPER, Network.ALEXNET, data) == {}
        assert recipe_settings(Recipe.PAPER, Network.ALEXNET_OWT, data) == {"warmup_epochs": 1.0}


def test_alexnet_cifar_starts_as_released_on_cifar10_only():
    settings = {data: recipe_settings(Recipe.PAPER, Network.ALEXNET_CIFAR, data)
                for data in ("cifar10", "cifar100", "shapes", "/photos/cifar10")}  # fmt: skip
    assert settings.pop("cifar10")["init"] == "released"
    assert list(settings.values()) == [{}, {}, {}]


def test_initial_weights_and_the_scale_of_inputs_go_together():
    recipe = recipe_settings(Recipe.PAPER, Network.ALEXNET_CIFAR, "cifar10")
    start = {"init": "released", "input_scaling": "centred"}
    assert start.items() <= reconcile_recipe(recipe, {}).items()
    assert "input_scaling" not in reconcile_recipe(recipe, {"init": "he"})
    assert "init" not in reconcile_recipe(recipe, {"input_scaling": "standard"})
    assert reconcile_recipe(recipe, {"init": "paper"}) == recipe  # the paper's needs 0-255 as well


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, "120,130"),
        ({"epochs": 14}, "12,13"),
        ({"epochs": 1}, "1"),
        ({"drop_epochs": "7"}, "120,130"),  # the user's own is laid over it later
        ({"schedule": "constant"}, ""),
    ],
    ids=str,
)
def test_stages_follow_the_number_of_epochs(own, expected):
    recipe = recipe_settings(Recipe.PAPER, Network.CUDA_CONVNET_18PCT, "cifar10")
    assert reconcile_recipe(recipe, own)["drop_epochs"] == expected
    assert reconcile_recipe({"epochs": 3}, own) == {"epochs": 3}


@pytest.mark.parametrize(
    ("name", "crops"), [(Recipe.FAST, {"crop_size", "early_crop_size"}), (Recipe.PAPER, {"pad"})]
)
def test_crops_of_a_recipe_are_for_its_own_sizes(name, crops):
    recipe = recipe_settings(name, Network.ALEXNET_CIFAR, "cifar10")
    assert reconcile_recipe(recipe, {"epochs": 3}).keys() >= crops
    for size in ("image_size", "crop_size"):
        assert not crops & reconcile_recipe(recipe, {size: 24}).keys()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "--recipe fast takes 15 epochs"),
        ({"epochs": 15}, ""),
        ({"recipe": "fast"}, ""),
        ({"from_weights": "owt"}, ""),
        ({"model": "cuda-convnet-13pct"}, ""),  # it has no fast recipe
    ],
)
def test_a_quicker_recipe_is_named_where_there_is_one(settings, expected):
    assert describe_quicker_recipe(TrainConfig(**settings)) == expected
