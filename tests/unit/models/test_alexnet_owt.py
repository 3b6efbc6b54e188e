import pytest
import torch
from torchvision.models import alexnet

from alexnet_cli.errors import UsageError
from alexnet_cli.models.alexnet_owt import MIN_CROP_PX
from alexnet_cli.models.build import build_network, outline_network
from alexnet_cli.networks import Network, network_spec


def spec(num_classes=1000, crop_size_px=224, **options):
    return network_spec(
        Network.ALEXNET_OWT,
        num_classes=num_classes,
        crop_size_px=crop_size_px,
        options=options,
    )


@torch.inference_mode()
@pytest.mark.parametrize("size_px", [MIN_CROP_PX, 224, 256])
def test_equal_to_torchvisions_with_the_same_weights(size_px):
    torch.manual_seed(0)
    theirs = alexnet(num_classes=7).eval()
    ours = build_network(spec(7, size_px)).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    images = torch.randn(2, 3, size_px, size_px)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-6, atol=1e-6)
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_images_too_small_are_refused_with_advice():
    with pytest.raises(UsageError, match="at least 63 px") as caught:
        outline_network(spec(10, 32))
    assert "alexnet-cifar" in caught.value.hint


@pytest.mark.parametrize(
    "option", [{"lrn": True}, {"groups": 2}, {"activation": "tanh"}, {"pool": "plain"}], ids=str
)
def test_it_has_no_options(option):
    with pytest.raises(UsageError, match="cannot be built with"):
        spec(**option)
