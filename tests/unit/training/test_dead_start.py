import math

import pytest
import torch

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.data.batches import Batch
from alexnet_cli.manifest import InputSpec
from alexnet_cli.models.build import PixelNetwork, build_network
from alexnet_cli.networks import Network, network_spec
from alexnet_cli.training.dead_start import CHECK_STEPS, DeadStartDetector, examine

CHANCE = math.log(10)
FIRST_CHECK, LAST_CHECK = CHECK_STEPS


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (16, 28, 28, 3), generator=generator, dtype=torch.uint8)
    return Batch(images, torch.arange(16) % 10, None)


def model_with(init, *, name=Network.ALEXNET_CIFAR):
    """Return a model whose inputs have unit variance."""
    spec = network_spec(name, num_classes=10, crop_size_px=28)
    pixels = InputSpec(32, 28, scale=(1 / 74,) * 3, shift=(-127.5 / 74,) * 3)
    return PixelNetwork(build_network(spec, init=init), pixels).train()


def check(detector, model, batch, loss, **settings):
    loss_sum = torch.tensor(loss * len(batch.labels_B), dtype=torch.float64)
    return detector.check(model, batch, loss_sum, TrainConfig(**settings))


@pytest.mark.parametrize(
    ("init", "losses", "expected"),
    [
        ("paper", [CHANCE] * FIRST_CHECK, FIRST_CHECK),
        ("paper", [3.0] * 100 + [CHANCE + 0.002, CHANCE - 0.001] * 50, FIRST_CHECK),
        ("paper", [CHANCE] * 100 + [CHANCE - 0.03] * 900, None),  # slow, but it learns
        ("paper", [CHANCE] * (FIRST_CHECK - 1), None),  # too few
        ("he", [CHANCE] * LAST_CHECK, LAST_CHECK),  # the logits differ: it had time to start
        ("he", [CHANCE] * FIRST_CHECK + [1.0] * 2 * LAST_CHECK, None),  # and started
    ],
    ids=["at chance", "down to chance", "slow", "too few", "late", "started late"],
)
def test_a_loss_at_chance_level_is_a_dead_start(batch, init, losses, expected):
    model, detector = model_with(init), DeadStartDetector(10)
    warned = [n for n, loss in enumerate(losses, 1) if check(detector, model, batch, loss)]
    assert warned == ([expected] if expected else [])


def test_a_batch_of_one_image_is_not_examined(batch):
    model, detector = model_with("paper"), DeadStartDetector(10)
    for _ in range(FIRST_CHECK):
        assert not check(detector, model, batch.take(slice(0, 1)), CHANCE)
    warning = check(detector, model, batch, CHANCE, micro_batch_size=4)
    assert f"no progress after {FIRST_CHECK + 1} updates" in warning


def test_losses_are_not_kept_after_the_check(batch):
    model, detector = model_with("he"), DeadStartDetector(10)
    for _ in range(FIRST_CHECK + 5):
        assert not check(detector, model, batch, 1.0)
    assert detector._losses == []


def test_the_initial_weights_of_the_paper_on_inputs_of_unit_variance_are_diagnosed(batch):
    model, config = model_with("paper"), TrainConfig(init="paper")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    loss, spread, layers = examine(model, batch, config)
    _, healthy_spread, healthy = examine(model_with("he"), batch, TrainConfig())
    assert loss == pytest.approx(CHANCE, abs=0.05)
    assert spread < 0.01 * healthy_spread
    assert list(layers)[:2] == ["features.0", "features.4"]
    assert len(layers) == 8
    assert layers["features.0"].gradient_norm < 0.1 * healthy["features.0"].gradient_norm
    assert list(layers.values())[-1].dead_fraction is None  # the last layer has no ReLU
    assert model.training
    assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("settings", "has_dead_layer", "advice"),
    [
        ({"init": "paper"}, False, "--init he, or with --input-scaling centred"),
        ({"learning_rate": 0.5}, True, "--learning-rate 0.05: most ReLUs of a layer have died"),
        ({"learning_rate": 0.5}, False, "--learning-rate 1.5, or --schedule constant"),
    ],
    ids=["initial weights", "dead ReLUs", "slow"],
)
def test_the_warning_advises(batch, settings, has_dead_layer, advice):
    model, detector = model_with("he"), DeadStartDetector(10)
    if has_dead_layer:
        with torch.no_grad():
            model.network.features[8].bias.fill_(-1e6)
        assert examine(model, batch, TrainConfig()).layers["features.8"].dead_fraction == 1.0
    warnings = [check(detector, model, batch, CHANCE, **settings) for _ in range(LAST_CHECK)]
    (warning,) = filter(None, warnings)
    assert warning.splitlines()[-1].startswith(f"hint: start again with {advice}")
    assert len(warning.splitlines()) == 1 + 8 + 1


def test_statistics_of_batch_normalisation_and_frozen_layers_stay(batch):
    model = model_with("he", name=Network.ALEXNET_CIFAR_BN)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.network.features.eval().requires_grad_(False)
    layers = examine(model, batch, TrainConfig(model="alexnet-cifar-bn")).layers
    assert layers["features.0"].gradient_norm is None
    assert not model.network.features[1].training
    assert model.network.classifier.training
    assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())
