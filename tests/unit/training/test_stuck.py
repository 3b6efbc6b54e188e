import math

import pytest
import torch

from alexnet_cli.config import TrainConfig
from alexnet_cli.data.batches import Batch
from alexnet_cli.manifest import InputSpec, Network
from alexnet_cli.models.build import build_network
from alexnet_cli.models.normalise import PixelNetwork
from alexnet_cli.networks import network_spec
from alexnet_cli.training.stuck import FIRST_LOOK, LAST_LOOK, StartWatch, diagnose

CHANCE = math.log(10)


def watched(losses):
    watch = StartWatch(10)
    for step, loss in enumerate(losses, 1):
        watch.add(torch.tensor(loss))
        if watch.is_due(step):
            return watch.is_stuck()
    return None


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([CHANCE] * FIRST_LOOK, True),
        ([3.0] * 100 + [CHANCE + 0.002, CHANCE - 0.002] * 50, True),  # it came down to chance
        ([CHANCE] * 100 + [CHANCE - 0.03] * 100, False),  # slow, but it goes
        ([CHANCE] * (FIRST_LOOK - 1), None),
    ],
    ids=["at chance", "down to chance", "slow", "too few"],
)
def test_a_loss_at_chance_is_a_start_that_is_none(losses, expected):
    assert watched(losses) is expected


def test_the_watch_counts_from_where_the_process_began_and_then_keeps_nothing():
    watch = StartWatch(10)
    assert not watch.is_due(1_000)
    assert watch.is_due(1_000 + FIRST_LOOK - 1)
    watch.close()
    watch.add(torch.tensor(1.0))
    assert not watch.is_due(5_000)
    assert watch._losses == []


def test_a_second_look_counts_from_the_first_update_and_sees_later_losses_only():
    watch = StartWatch(10)
    for _ in range(FIRST_LOOK):
        watch.add(torch.tensor(CHANCE))
    assert watch.is_due(1) is False
    assert watch.is_due(FIRST_LOOK)
    watch.look_later()
    assert not watch.is_due(LAST_LOOK - 1)
    for _ in range(10):
        watch.add(torch.tensor(1.0))
    assert watch.is_due(LAST_LOOK)
    assert not watch.is_stuck()
    watch.look_later()
    assert not watch.is_due(LAST_LOOK + 1)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (16, 28, 28, 3), generator=generator, dtype=torch.uint8)
    return Batch(images, torch.arange(16) % 10, None)


def network_with(init, scale):
    spec = network_spec(Network.ALEXNET_CIFAR, num_classes=10, crop_size_px=28)
    pixels = InputSpec(32, 28, scale=(scale,) * 3, shift=(-127.5 * scale,) * 3)
    return PixelNetwork(build_network(spec, init=init), pixels).train()


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
    assert found.layers[-1].dead_share is None  # the last layer has no ReLU
    assert "--init he" in found.cure
    assert "--input-scaling centred" in found.cure
    assert network.training
    assert all(torch.equal(before[n], v) for n, v in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


def test_dead_layers_are_counted_and_a_smaller_rate_advised(batch):
    network = network_with("he", 1 / 74)
    with torch.no_grad():
        network.network.features[8].bias.fill_(-1e6)
    found = diagnose(network, batch, TrainConfig(learning_rate=0.5), num_updates=7)
    shares = {layer.name: layer.dead_share for layer in found.layers}
    assert shares["features.8"] == 1.0
    assert shares["features.0"] < 0.5
    assert "--learning-rate 0.05" in found.cure


def test_statistics_of_batch_normalisation_stay(batch):
    spec = network_spec(Network.ALEXNET_CIFAR_BN, num_classes=10, crop_size_px=28)
    pixels = InputSpec(32, 28, scale=(0.01,) * 3, shift=(-1.0,) * 3)
    network = PixelNetwork(build_network(spec), pixels).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    diagnose(network, batch, TrainConfig(model="alexnet-cifar-bn"), num_updates=7)
    assert all(torch.equal(before[n], v) for n, v in network.state_dict().items())
