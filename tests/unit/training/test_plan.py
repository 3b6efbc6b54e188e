import pytest

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.errors import UsageError
from alexnet_cli.training.setup import plan_run


def test_a_plan_needs_no_images():
    plan = plan_run(TrainConfig())  # the cache folder is empty
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
        plan_run(TrainConfig(**settings), num_ranks=num_ranks)
