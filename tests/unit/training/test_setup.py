import numpy as np
import pytest

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.data.arrays import ColourStatistics
from alexnet_cli.data.datasets import find_dataset
from alexnet_cli.errors import UsageError
from alexnet_cli.networks import Network, NetworkSpec
from alexnet_cli.training.setup import describe_model, plan_training, require_fit, resolve_sizes


def test_planning_needs_no_images():
    dataset, network, pretrained = plan_training(TrainConfig())  # the cache folder is empty
    assert network.crop_size_px == 28
    assert network.num_classes == len(dataset.classes) == 10
    assert pretrained is None


@pytest.mark.parametrize(
    ("settings", "num_ranks", "text"),
    [
        ({"data": "nowhere"}, 1, "nowhere"),
        ({"crop_size": 40}, 1, "crops of 40 px"),
        ({"crop_size": 3}, 1, "not 3"),
        *[({"early_crop_size": px}, 1, f"{px}-px crops") for px in (2, 8, 23, 29, 32)],
        ({"model": "alexnet"}, 1, "made for 224 px"),
        ({"model": "alexnet-cifar-bn", "lrn": True}, 1, "lrn"),
        ({"model": "alexnet-cifar-bn"}, 2, "entire batches; --processes"),
        ({"model": "alexnet-cifar-bn", "micro_batch_size": 4}, 1, "--micro-batch-size would"),
        ({"model": "cuda-convnet-18pct"}, 1, "no dropout"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_are_refused(settings, num_ranks, text):
    with pytest.raises(UsageError, match=text) as caught:
        plan_training(TrainConfig(**settings), num_ranks=num_ranks)
    assert caught.value.hint


@pytest.mark.parametrize("early", [0, 24, 27, 28])
def test_early_crops_that_leave_the_same_shape_pass(early):
    plan_training(TrainConfig(early_crop_size=early))


@pytest.mark.parametrize(
    ("batch_size", "num_images", "hint"),
    [
        (1, 50, "choose --batch-size 2"),
        (7, 50, "choose --batch-size 8"),
        (4, 21, "choose --batch-size 6"),  # 5 would leave one, too
        (128, 129, "choose --batch-size 129"),
        (64, 1, "add training images"),
        (8, 50, None),
    ],
)
def test_batch_normalisation_of_a_single_image_is_refused(batch_size, num_images, hint):
    config = TrainConfig(batch_size=batch_size)
    plain, normalising = (
        NetworkSpec(model, num_classes=10, crop_size_px=28)
        for model in (Network.ALEXNET_CIFAR, Network.ALEXNET_CIFAR_BN)
    )
    require_fit(config, plain, num_images=num_images)
    if hint is None:
        require_fit(config, normalising, num_images=num_images)
        return
    with pytest.raises(UsageError, match="batch normalisation needs two") as caught:
        require_fit(config, normalising, num_images=num_images)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("model", "expected"), [(Network.ALEXNET, (256, 224)), (Network.ALEXNET_CIFAR, (32, 28))]
)
def test_images_of_many_sizes_become_what_the_network_was_made_for(model, expected):
    assert resolve_sizes(TrainConfig(model=model), stored_px=None) == expected


def test_a_constant_channel_is_not_scaled():
    colours = ColourStatistics(np.array([100.0, 7.0, 50.0]), np.diag([400.0, 0.0, 25.0]))
    image = describe_model(TrainConfig(data="shapes"), find_dataset("shapes"), colours).input
    assert image.scale == pytest.approx((1 / 20, 1, 1 / 5))
    assert image.shift == pytest.approx((-5, -7, -10))
