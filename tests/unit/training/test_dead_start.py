import math

import pytest
import torch

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.data.loader import Batch
from alexnet_cli.manifest import InputSpec
from alexnet_cli.models.build import build_network
from alexnet_cli.models.layers import PixelNetwork
from alexnet_cli.networks import Network, network_spec
from alexnet_cli.training.dead_start import CHECK_STEPS, DeadStartDetector, diagnose

CHANCE = math.log(10)
FIRST_LOOK, LAST_LOOK = CHECK_STEPS


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (16, 28, 28, 3), generator=generator, dtype=torch.uint8)
    return Batch(images, torch.arange(16) % 10, None)


def network_with(init, scale):
    spec = network_spec(Network.ALEXNET_CIFAR, num_classes=10, crop_size_px=28)
    pixels = InputSpec(32, 28, scale=(scale,) * 3, shift=(-127.5 * scale,) * 3)
    return PixelNetwork(build_network(spec, init=init), pixels).train()


def watched(network, batch, losses):
    """Return (updates made, diagnosis) of the first diagnosis."""
    watch = DeadStartDetector(10)
    for number, loss in enumerate(losses, 1):
        watch.add(torch.tensor(loss))
        found = watch.check(network, batch, TrainConfig())
        if found is not None:
            return number
    return None


@pytest.mark.parametrize(
    ("init", "losses", "expected"),
    [
        ("paper", [CHANCE] * FIRST_LOOK, FIRST_LOOK),
        ("paper", [3.0] * 100 + [CHANCE + 0.002, CHANCE - 0.001] * 50, FIRST_LOOK),
        ("paper", [CHANCE] * 100 + [CHANCE - 0.03] * 900, None),  # slow, but it goes
        ("paper", [CHANCE] * (FIRST_LOOK - 1), None),  # too few
        ("he", [CHANCE] * LAST_LOOK, LAST_LOOK),  # answers differ: it had time to start
        ("he", [CHANCE] * FIRST_LOOK + [1.0] * 2 * LAST_LOOK, None),  # and started
    ],
    ids=["at chance", "down to chance", "slow", "too few", "late", "started late"],
)
def test_a_loss_at_chance_is_a_start_that_is_none(batch, init, losses, expected):
    assert watched(network_with(init, 1 / 74), batch, losses) == expected


def test_a_batch_of_one_image_is_passed_over(batch):
    network, watch = network_with("paper", 1 / 74), DeadStartDetector(10)
    for _ in range(FIRST_LOOK):
        watch.add(torch.tensor(CHANCE))
        assert watch.check(network, batch.part(slice(0, 1)), TrainConfig()) is None
    assert watch.check(network, batch, TrainConfig(micro_batch_size=4)).num_updates > FIRST_LOOK


def test_what_was_looked_at_is_not_kept(batch):
    network, watch = network_with("he", 1 / 74), DeadStartDetector(10)
    for _ in range(FIRST_LOOK + 5):
        watch.add(torch.tensor(1.0))
        assert watch.check(network, batch, TrainConfig()) is None
    assert watch._losses == []


def test_the_papers_start_on_inputs_of_unit_variance_is_diagnosed(batch):
    config = TrainConfig(init="paper")
    network = network_with("paper", 1 / 74)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = diagnose(network, batch, config, num_updates=7)
    healthy = diagnose(network_with("he", 1 / 74), batch, TrainConfig(), num_updates=7)
    assert found.chance == pytest.approx(CHANCE)
    assert found.logit_spread < 0.01 * healthy.logit_spread
    assert (found.is_hopeless, healthy.is_hopeless) == (True, False)
    assert found.num_updates == 7
    assert [layer.name for layer in found.layers][:2] == ["features.0", "features.4"]
    assert len(found.layers) == 8
    assert found.layers[0].gradient_norm < 0.1 * healthy.layers[0].gradient_norm
    assert found.layers[-1].dead_fraction is None  # the last layer has no ReLU
    assert "--init he" in found.suggestion
    assert "with --input-scaling centred" in found.suggestion
    assert network.training
    assert all(torch.equal(before[n], v) for n, v in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


def test_dead_layers_are_counted_and_a_smaller_rate_advised(batch):
    network = network_with("he", 1 / 74)
    with torch.no_grad():
        network.network.features[8].bias.fill_(-1e6)
    found = diagnose(network, batch, TrainConfig(learning_rate=0.5), num_updates=7)
    shares = {layer.name: layer.dead_fraction for layer in found.layers}
    assert shares["features.8"] == 1.0
    assert shares["features.0"] < 0.5
    assert "--learning-rate 0.05" in found.suggestion


def test_statistics_of_batch_normalisation_stay(batch):
    spec = network_spec(Network.ALEXNET_CIFAR_BN, num_classes=10, crop_size_px=28)
    pixels = InputSpec(32, 28, scale=(0.01,) * 3, shift=(-1.0,) * 3)
    network = PixelNetwork(build_network(spec), pixels).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.network.features.eval()  # frozen
    diagnose(network, batch, TrainConfig(model="alexnet-cifar-bn"), num_updates=7)
    assert not network.network.features[1].training
    assert network.network.classifier.training
    assert all(torch.equal(before[n], v) for n, v in network.state_dict().items())
