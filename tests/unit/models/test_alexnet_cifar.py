import pytest
import torch
import torch.nn.functional as F

from alexnet_cli.models.alexnet_cifar import AlexNetCifar, AlexNetCifarBN
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


@pytest.mark.parametrize("crop_size_px", [8, 11, 28])
@torch.inference_mode()
def test_forward_equals_an_independent_reference(crop_size_px):
    torch.manual_seed(crop_size_px)
    network = alexnet_cifar(10, crop_size_px).double().eval()
    x = torch.rand(2, 3, crop_size_px, crop_size_px).double() * 255
    flat = list(network.state_dict().values())
    expected = reference(list(zip(flat[::2], flat[1::2], strict=True)), x)
    torch.testing.assert_close(network(x), expected, rtol=1e-10, atol=1e-10)


def bn_reference(state, x):
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


def test_batch_normalised_forward_equals_an_independent_reference():
    torch.manual_seed(0)
    spec = NetworkSpec(Network.ALEXNET_CIFAR_BN, 5, 28, dropout=0.0, lrn=False)
    network = AlexNetCifarBN(spec).double().train()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x = torch.rand(4, 3, 28, 28, dtype=torch.float64)
    expected = bn_reference(network.state_dict(), x)
    torch.testing.assert_close(network(x), expected, rtol=1e-9, atol=1e-9)
