import pytest
import torch
import torch.nn.functional as F
import torchvision

from alexnet_cli.models.alexnet import OWT_MIN_CROP_PX, AlexNet, AlexNetCifar, AlexNetCifarBN
from alexnet_cli.models.build import build_network
from alexnet_cli.networks import Network, NetworkSpec, network_spec


def alexnet(num_classes, crop_size_px, **options):
    return AlexNet(NetworkSpec(Network.ALEXNET, num_classes, crop_size_px, **options))


def lrn(x):
    return F.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=2.0)


def pool(x):
    return F.max_pool2d(x, 3, stride=2)  # 55, 27 and 13 divide: no rounding is involved


def papers_table(weights, x):
    """Section 3 of the paper, layer by layer; `weights` are (weight, bias) in order."""
    conv1, conv2, conv3, conv4, conv5, fc6, fc7, fc8 = weights
    x = pool(lrn(F.relu(F.conv2d(x, *conv1, stride=4))))
    x = pool(lrn(F.relu(F.conv2d(x, *conv2, padding=2, groups=2))))
    x = F.relu(F.conv2d(x, *conv3, padding=1))
    x = F.relu(F.conv2d(x, *conv4, padding=1, groups=2))
    x = pool(F.relu(F.conv2d(x, *conv5, padding=1, groups=2)))
    assert x.shape[1:] == (256, 6, 6)
    x = F.relu(F.linear(x.flatten(1), *fc6))
    return F.linear(F.relu(F.linear(x, *fc7)), *fc8)


@pytest.fixture(scope="module")
def at_227():
    """A network with PyTorch's own initial weights, so that no bias is zero."""
    torch.manual_seed(0)
    return alexnet(10, 227).double().eval()


@pytest.fixture(scope="module")
def image():
    """A float64 image on the paper's scale, on which LRN changes the answer."""
    return torch.rand((1, 3, 227, 227), generator=torch.Generator().manual_seed(1)).double() * 255


@torch.inference_mode()
def test_forward_is_the_papers_table(at_227, image):
    flat = list(at_227.state_dict().values())
    expected = papers_table(list(zip(flat[::2], flat[1::2], strict=True)), image)
    torch.testing.assert_close(at_227(image), expected, rtol=1e-10, atol=1e-10)


@torch.inference_mode()
def test_224_equals_227_with_zeros_at_right_and_bottom(at_227, image):
    at_224 = alexnet(10, 224).eval()
    at_224.load_state_dict(at_227.state_dict(), assign=True)
    cut, padded = image[..., :224, :224], image.clone()
    padded[..., 224:, :] = 0
    padded[..., 224:] = 0
    assert torch.equal(at_224(cut), at_227(padded))


def test_both_hidden_layers_have_the_dropout_asked_for():
    with torch.device("meta"):
        network = alexnet(10, 67, dropout=0.25)
    assert [m.p for m in network.modules() if isinstance(m, torch.nn.Dropout)] == [0.25, 0.25]


@torch.inference_mode()
@pytest.mark.parametrize("size_px", [OWT_MIN_CROP_PX, 224, 256])
def test_equal_to_torchvisions_with_the_same_weights(size_px):
    torch.manual_seed(0)
    theirs = torchvision.models.alexnet(num_classes=7).eval()
    spec = network_spec(Network.ALEXNET_OWT, num_classes=7, crop_size_px=size_px)
    ours = build_network(spec).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    images = torch.randn(2, 3, size_px, size_px)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-6, atol=1e-6)
    assert list(ours.state_dict()) == list(theirs.state_dict())


def alexnet_cifar(num_classes, crop_size_px, **options):
    return AlexNetCifar(NetworkSpec(Network.ALEXNET_CIFAR, num_classes, crop_size_px, **options))


def ceil_pool(x):
    return F.max_pool2d(x, 3, stride=2, ceil_mode=True)


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
