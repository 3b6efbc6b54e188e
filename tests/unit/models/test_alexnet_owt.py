import pytest
import torch
from torchvision.models import alexnet

from alexnet_cli.models.alexnet_owt import MIN_CROP_PX
from alexnet_cli.models.build import build_network
from alexnet_cli.networks import Network, network_spec


@torch.inference_mode()
@pytest.mark.parametrize("size_px", [MIN_CROP_PX, 224, 256])
def test_equal_to_torchvisions_with_the_same_weights(size_px):
    torch.manual_seed(0)
    theirs = alexnet(num_classes=7).eval()
    spec = network_spec(Network.ALEXNET_OWT, num_classes=7, crop_size_px=size_px)
    ours = build_network(spec).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    images = torch.randn(2, 3, size_px, size_px)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-6, atol=1e-6)
    assert list(ours.state_dict()) == list(theirs.state_dict())
