import pytest
import torch

from alexnet_cli.config.schema import Init
from alexnet_cli.errors import UsageError
from alexnet_cli.models.build import build_network, weight_layers
from alexnet_cli.networks import Network, NetworkSpec, network_spec

SPEC = NetworkSpec(Network.ALEXNET_CIFAR, num_classes=10, crop_size_px=28)


@torch.inference_mode()
def relative_spread(network):
    """How much the logits vary with the image, relative to how they vary with the class."""
    images = torch.randn((32, 3, 28, 28), generator=torch.Generator().manual_seed(5))
    logits_NK = network.eval()(images)
    return float(logits_NK.std(dim=0).mean() / logits_NK.mean(dim=0).std())


@pytest.fixture(scope="module")
def network():
    return build_network(SPEC, seed=3)


def test_the_logits_depend_on_the_image(network):
    ours = relative_spread(network)
    papers = build_network(SPEC, seed=3)
    for layer in weight_layers(papers):
        layer.weight.data.normal_(0, 0.01, generator=torch.Generator().manual_seed(0))
    for index in (1, 3, 4, 5, 6):
        weight_layers(papers)[index].bias.data.fill_(1)
    assert relative_spread(papers) < 0.001  # the start that this one replaces
    assert ours > 0.1


def test_standard_deviations_and_biases(network):
    *hidden, last = weight_layers(network)
    for layer in hidden:
        fan_in = layer.weight[0].numel()
        assert float(layer.weight.detach().std()) == pytest.approx((2 / fan_in) ** 0.5, rel=0.03)
    assert float(last.weight.detach().std()) == pytest.approx(0.01, rel=0.03)
    for layer in (*hidden, last):
        assert abs(float(layer.weight.detach().mean())) < 0.05 * float(layer.weight.detach().std())
        assert not layer.bias.detach().any()


def test_the_seed_alone_fixes_the_weights(network):
    torch.manual_seed(99)
    again, other = build_network(SPEC, seed=3), build_network(SPEC, seed=4)
    pairs = zip(network.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)
    assert not torch.equal(weight_layers(network)[0].weight, weight_layers(other)[0].weight)


@pytest.mark.parametrize(
    ("init", "third"), [("paper", 0.01), ("released", 0.03)], ids=["paper", "released"]
)
def test_published_starts(init, third):
    layers = weight_layers(build_network(SPEC, seed=3, init=init))
    stds = [0.01, 0.01, third, third, third, 0.01, 0.01, 0.01]
    for layer, std in zip(layers, stds, strict=True):
        assert float(layer.weight.detach().std()) == pytest.approx(std, rel=0.05)
    biases = [float(layer.bias.detach().unique()) for layer in layers]
    assert biases == [0, 1, 0, 1, 1, 1, 1, 0]


def test_a_start_that_was_not_published_is_refused():
    spec = network_spec(Network.CUDA_CONVNET_18PCT, num_classes=10, crop_size_px=32)
    with pytest.raises(UsageError, match="called 'paper' were") as caught:
        build_network(spec, init=Init.PAPER)  # what the configuration hands on
    assert "--init he or --init released" in caught.value.hint


def test_batch_normalised_networks_have_no_biases_to_set():
    spec = network_spec(Network.ALEXNET_CIFAR_BN, num_classes=10, crop_size_px=28)
    layers = weight_layers(build_network(spec, init="paper"))
    assert [layer.bias is None for layer in layers] == [True] * 7 + [False]
