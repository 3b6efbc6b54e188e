import itertools

import numpy as np
import pytest
import torch
from torch import nn

from alexnet_cli.config.schema import Init
from alexnet_cli.errors import UsageError
from alexnet_cli.models.build import (
    SameMapNorm,
    build_network,
    outline_network,
    to_unit_range,
    torch_logits,
    weight_layers,
)
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
    papers = build_network(SPEC, seed=3, init="paper")
    assert relative_spread(papers) < 0.001  # the start that this one replaces
    assert relative_spread(network) > 0.1


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


def test_batch_normalised_networks_have_no_biases_to_set():
    spec = network_spec(Network.ALEXNET_CIFAR_BN, num_classes=10, crop_size_px=28)
    layers = weight_layers(build_network(spec, init="paper"))
    assert [layer.bias is None for layer in layers] == [True] * 7 + [False]


RELEASED = (0.01, 0.01, 0.03, 0.03, 0.03, 0.01, 0.01, 0.01)
PAPERS_BIASES = (0, 1, 0, 1, 1, 1, 1, 0)


@pytest.mark.parametrize(
    ("name", "init", "stds", "biases"),
    [
        (Network.ALEXNET_CIFAR, "paper", (0.01,) * 8, PAPERS_BIASES),
        (Network.ALEXNET_CIFAR, "released", RELEASED, PAPERS_BIASES),
        (Network.CUDA_CONVNET_80SEC, "released", (1e-4, 0.01, 0.01, 0.1, 0.1), (0,) * 5),
        (Network.CUDA_CONVNET_13PCT, "released", (1e-4, 0.01, 0.04, 0.04, 0.01), (0,) * 5),
    ],
)
def test_published_starts(name, init, stds, biases):
    spec = network_spec(name, num_classes=10, crop_size_px=name.info.own_crop_px())
    layers = weight_layers(build_network(spec, seed=4, init=init))
    for layer, std, bias in zip(layers, stds, biases, strict=True):
        assert float(layer.weight.detach().std()) == pytest.approx(std, rel=0.05)
        assert (layer.bias == bias).all()


def test_a_start_that_was_not_published_is_refused():
    spec = network_spec(Network.CUDA_CONVNET_18PCT, num_classes=10, crop_size_px=32)
    with pytest.raises(UsageError, match="--init paper is not available") as caught:
        build_network(spec, init=Init.PAPER)  # what the configuration hands on
    assert "--init he or --init released" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        (Network.ALEXNET, [*range(67, 80), 100, 223, 225, 256]),
        (Network.ALEXNET_CIFAR, [*range(8, 41), 95, 96]),
    ],
)
def test_crops_of_other_sizes_run(name, sizes):
    for size in sizes:
        network = outline_network(network_spec(name, num_classes=7, crop_size_px=size))
        assert network(torch.empty(2, 3, size, size, device="meta")).shape == (2, 7)


@pytest.mark.parametrize(
    ("names", "sizes", "hint"),
    [
        ([Network.ALEXNET], [34], "alexnet-cifar"),
        ([Network.ALEXNET_OWT], [32, 62], "alexnet-cifar"),
        ([Network.ALEXNET_CIFAR, Network.ALEXNET_CIFAR_BN], [0, 7, 97], "--crop-size"),
        ([n for n in Network if n.startswith("cuda-convnet")], [7, 30, 100], "--crop-size"),
    ],
)
def test_crops_that_do_not_fit_are_refused_with_advice(names, sizes, hint):
    for name, size in itertools.product(names, sizes):
        with pytest.raises(UsageError, match=str(size)) as caught:
            outline_network(network_spec(name, num_classes=10, crop_size_px=size))
        assert hint in caught.value.hint


def test_each_filter_uses_the_whole_range():
    filters = np.random.default_rng(0).normal(size=(5, 3, 3, 3)).astype(np.float32)
    scaled = to_unit_range(filters)
    assert scaled.min(axis=(1, 2, 3)).tolist() == [0] * 5
    assert scaled.max(axis=(1, 2, 3)).tolist() == [1] * 5
    assert np.isfinite(to_unit_range(np.zeros((2, 3, 3, 3), np.float32))).all()


def test_same_map_normalisation_is_not_lost_in_bfloat16():
    x = 3 * torch.ones(1, 2, 8, 8)  # 1e-4 · 9 is less than bfloat16's step at 1
    exact = SameMapNorm(alpha=5e-3)(x)
    found = SameMapNorm(alpha=5e-3)(x.bfloat16())
    assert found.dtype is torch.bfloat16
    torch.testing.assert_close(found.float(), exact, rtol=4e-3, atol=0)
    assert float(SameMapNorm(alpha=1e-4)(x.double())[0, 0, 4, 4]) < 3 - 1e-3


@pytest.mark.parametrize("was_training", [True, False])
def test_a_network_answers_in_evaluation_mode_and_keeps_its_own_mode(was_training):
    linear = nn.Linear(8 * 8 * 3, 3)
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), linear).train(was_training)
    images = np.random.default_rng(0).random((7, 8, 8, 3)).astype(np.float32)
    logits = torch_logits(network, device=torch.device("cpu"), dtype=torch.float32)(images)
    expected = linear(torch.from_numpy(images).flatten(1)).detach().numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
    assert network.training is was_training
