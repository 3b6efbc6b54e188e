import pytest
import torch
import torch.nn.functional as F

from alexnet_cli.errors import UsageError
from alexnet_cli.models.alexnet_cifar import MAX_CROP_PX, MIN_CROP_PX, AlexNetCifar
from alexnet_cli.models.build import num_parameters
from alexnet_cli.networks import Network, NetworkSpec


def alexnet_cifar(num_classes, crop_size_px, **options):
    return AlexNetCifar(NetworkSpec(Network.ALEXNET_CIFAR, num_classes, crop_size_px, **options))


def ceil_pool(x):
    return F.max_pool2d(x, 3, stride=2, ceil_mode=True)


def lrn(x):
    return F.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=2.0)


def reference(weights, x):
    conv1, conv2, conv3, conv4, conv5, fc6, fc7, fc8 = weights
    x = ceil_pool(lrn(F.relu(F.conv2d(x, *conv1, padding=2))))
    x = ceil_pool(lrn(F.relu(F.conv2d(x, *conv2, padding=2, groups=2))))
    x = F.relu(F.conv2d(x, *conv3, padding=1))
    x = F.relu(F.conv2d(x, *conv4, padding=1, groups=2))
    x = ceil_pool(F.relu(F.conv2d(x, *conv5, padding=1, groups=2)))
    x = F.relu(F.linear(x.flatten(1), *fc6))
    return F.linear(F.relu(F.linear(x, *fc7)), *fc8)


@pytest.mark.parametrize(
    ("crop_size_px", "expected"), [(32, 7_561_610), (28, 5_726_602), (24, 5_726_602)]
)
def test_number_of_parameters(crop_size_px, expected):
    with torch.device("meta"):
        assert num_parameters(alexnet_cifar(10, crop_size_px)) == expected


@pytest.mark.parametrize("crop_size_px", [8, 11, 28])
@torch.inference_mode()
def test_forward_equals_an_independent_reference(crop_size_px):
    torch.manual_seed(crop_size_px)
    network = alexnet_cifar(10, crop_size_px).double().eval()
    x = torch.rand(2, 3, crop_size_px, crop_size_px).double() * 255
    flat = list(network.state_dict().values())
    expected = reference(list(zip(flat[::2], flat[1::2], strict=True)), x)
    torch.testing.assert_close(network(x), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("crop_size_px", [*range(8, 41), 95, 96])
def test_every_crop_size_runs(crop_size_px):
    with torch.device("meta"):
        network = alexnet_cifar(7, crop_size_px)
        assert network(torch.empty(2, 3, crop_size_px, crop_size_px)).shape == (2, 7)


@pytest.mark.parametrize("crop_size_px", [0, MIN_CROP_PX - 1, MAX_CROP_PX + 1])
def test_other_crops_are_refused_with_a_hint(crop_size_px):
    with pytest.raises(UsageError, match=f"not {crop_size_px}") as caught:
        alexnet_cifar(10, crop_size_px)
    assert caught.value.hint
