import pytest

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.errors import UsageError
from alexnet_cli.networks import Network, NetworkSpec
from alexnet_cli.training.setup import plan_training, require_fit, resolve_sizes


def test_a_plan_needs_no_images():
    plan = plan_training(TrainConfig())  # the cache folder is empty
    assert (plan.image_size_px, plan.network.crop_size_px) == (32, 28)
    assert plan.network.num_classes == len(plan.dataset.classes) == 10
    assert plan.pretrained is None


@pytest.mark.parametrize(
    ("settings", "num_ranks", "words"),
    [
        ({"data": "nowhere"}, 1, "nowhere"),
        ({"crop_size": 40}, 1, "crops of 40 px"),
        ({"crop_size": 3}, 1, "not 3"),
        ({"early_crop_size": 2}, 1, "2-px crops"),
        ({"model": "alexnet"}, 1, "made for 224 px"),
        ({"model": "alexnet-cifar-bn", "lrn": True}, 1, "lrn"),
        ({"model": "alexnet-cifar-bn"}, 2, "--processes"),
        ({"model": "cuda-convnet-18pct"}, 1, "no dropout"),
    ],
)
def test_what_does_not_fit_is_refused(settings, num_ranks, words):
    with pytest.raises(UsageError, match=words):
        plan_training(TrainConfig(**settings), num_ranks=num_ranks)


def spec(model, crop_size_px=28):
    return NetworkSpec(model, num_classes=10, crop_size_px=crop_size_px)


@pytest.mark.parametrize("early", [0, 24, 27, 28])
def test_early_crops_that_leave_the_same_shape_pass(early):
    config = TrainConfig(early_crop_size=early)
    require_fit(config, spec(Network.ALEXNET_CIFAR), num_images=45_000)


@pytest.mark.parametrize("early", [8, 23, 29, 32])
def test_early_crops_that_do_not_are_refused(early):
    config = TrainConfig(early_crop_size=early)
    with pytest.raises(UsageError, match=f"{early}-px") as caught:
        require_fit(config, spec(Network.ALEXNET_CIFAR), num_images=45_000)
    assert "--early-crop-size 0" in caught.value.hint


@pytest.mark.parametrize(("batch_size", "num_images"), [(1, 50), (7, 50), (128, 129), (64, 1)])
def test_batch_normalisation_of_a_single_image_is_refused(batch_size, num_images):
    config = TrainConfig(batch_size=batch_size)
    with pytest.raises(UsageError, match="one image") as caught:
        require_fit(config, spec(Network.ALEXNET_CIFAR_BN), num_images=num_images)
    assert "--batch-size" in caught.value.hint
    require_fit(config, spec(Network.ALEXNET_CIFAR), num_images=num_images)


def test_other_batches_pass():
    config = TrainConfig(batch_size=8)
    require_fit(config, spec(Network.ALEXNET_CIFAR_BN), num_images=50)


@pytest.mark.parametrize(
    ("model", "expected"), [(Network.ALEXNET, (256, 224)), (Network.ALEXNET_CIFAR, (32, 28))]
)
def test_images_of_many_sizes_become_what_the_network_was_made_for(model, expected):
    assert resolve_sizes(TrainConfig(model=model), stored_px=None) == expected
