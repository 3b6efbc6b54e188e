import pytest
import torch
import torch.nn.functional as F

from alexnet_cli.errors import UsageError
from alexnet_cli.models.alexnet_cifar import AlexNetCifar, AlexNetCifarBN
from alexnet_cli.models.build import num_parameters
from alexnet_cli.networks import Network, NetworkSpec

# Two numbers for each channel or unit instead of one bias: 96 + 256 + 384 + 384 + 256 + 2·1024.
MORE_PARAMETERS = 96 + 256 + 384 + 384 + 256 + 1024 + 1024


def alexnet_cifar_bn(num_classes, crop_size_px, **options):
    spec = NetworkSpec(Network.ALEXNET_CIFAR_BN, num_classes, crop_size_px, lrn=False, **options)
    return AlexNetCifarBN(spec)


@pytest.mark.parametrize("crop_size_px", [24, 28, 32])
def test_number_of_parameters(crop_size_px):
    with torch.device("meta"):
        plain = num_parameters(AlexNetCifar(NetworkSpec(Network.ALEXNET_CIFAR, 10, crop_size_px)))
        found = num_parameters(alexnet_cifar_bn(10, crop_size_px))
    assert found == plain + MORE_PARAMETERS


def reference(state, x):
    """Training mode: batch statistics, no dropout."""
    names = iter([n.removesuffix(".weight") for n in state if n.endswith(".weight")])

    def layer(x, function, **settings):
        x = function(x, state[next(names) + ".weight"], **settings)
        axes = (0, 2, 3) if x.ndim == 4 else (0,)
        x = x - x.mean(axes, keepdim=True)
        x = x / (x.square().mean(axes, keepdim=True) + 1e-5).sqrt()
        name = next(names)
        shape = (1, -1, 1, 1)[: x.ndim]
        return F.relu(x * state[name + ".weight"].view(shape) + state[name + ".bias"].view(shape))

    def pool(x):
        return F.max_pool2d(x, 3, 2, ceil_mode=True)

    x = pool(layer(x, F.conv2d, padding=2))
    x = pool(layer(x, F.conv2d, padding=2, groups=2))
    x = layer(x, F.conv2d, padding=1)
    x = layer(x, F.conv2d, padding=1, groups=2)
    x = pool(layer(x, F.conv2d, padding=1, groups=2))
    x = layer(x.flatten(1), F.linear)
    x = layer(x, F.linear)
    name = next(names)
    return F.linear(x, state[name + ".weight"], state[name + ".bias"])


def test_forward_equals_an_independent_reference():
    torch.manual_seed(0)
    network = alexnet_cifar_bn(5, 28, dropout=0.0).double().train()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x = torch.rand(4, 3, 28, 28, dtype=torch.float64)
    expected = reference(network.state_dict(), x)
    torch.testing.assert_close(network(x), expected, rtol=1e-9, atol=1e-9)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="takes crops"):
        alexnet_cifar_bn(10, 4)
