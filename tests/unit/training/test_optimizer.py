import pytest
import torch
from torch import nn

from alexnet_cli.config.recipes import recipe_settings
from alexnet_cli.config.schema import Recipe, TrainConfig
from alexnet_cli.models.build import build_network
from alexnet_cli.networks import Network, NetworkSpec
from alexnet_cli.training.optimizer import (
    WeightAverage,
    all_finite,
    build_optimizer,
    orthogonalised,
    set_learning_rate,
)


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3, groups=2), nn.Flatten(), nn.Linear(6, 2)
    ).double()


def loss_of(net, step):
    images = (torch.arange(5 * 75, dtype=torch.float64) + step).sin().view(5, 3, 5, 5)
    return net(images).square().sum()


def step(net, config, *, times=1, learning_rate=None):
    optimizer = build_optimizer(net, config)
    set_learning_rate(optimizer, learning_rate or config.learning_rate)
    for _ in range(times):
        optimizer.zero_grad()
        loss_of(net, 0).backward()
        optimizer.step()
    return optimizer


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (5, 5), (1, 7)])
def test_singular_values_become_about_one(shape):
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(shape, generator=generator, dtype=torch.float64)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonalised(matrix)
    kept = u.T @ found @ v.T  # diagonal exactly when the singular vectors are the same
    assert torch.allclose(kept, torch.diag(kept.diag()), atol=1e-10)
    assert kept.diag().min() > 0.5 * min(1.0, float(s.min() / s.max()) * 5)
    assert kept.diag().max() < 1.25


def test_zeros_stay_zeros():
    assert not orthogonalised(torch.zeros(3, 5)).any()


@pytest.mark.parametrize(("learning_rate", "expected"), [(0.5, 0.02), (0.125, 0.005)])
def test_a_step_of_muon_follows_the_learning_rate_and_keeps_the_norm(learning_rate, expected):
    net, before = network(), network()
    config = TrainConfig(muon_rate=0.02, momentum_kind="nesterov", learning_rate=0.5)
    optimizer = step(net, config, learning_rate=learning_rate)
    new, old = net[1].weight.detach(), before[1].weight.detach()
    torch.testing.assert_close(new.norm(), old.norm())
    assert float((new - old).norm() / old.norm()) == pytest.approx(expected, rel=0.05)
    assert set(optimizer.state[net[1].weight]) == {"momentum_buffer"}


def test_every_other_weight_is_updated_by_sgd():
    ours, theirs = network(), network()
    config = TrainConfig(muon_rate=0.02, learning_rate=0.001)
    step(ours, config)
    step(theirs, config.model_copy(update={"muon_rate": 0.0}))
    for (name, found), wanted in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(found, wanted) == (name != "1.weight"), name


def test_the_loss_falls_with_muon():
    net = network()
    before = loss_of(net, 0).item()
    step(net, TrainConfig(muon_rate=0.05, momentum_kind="nesterov", learning_rate=0.001), times=30)
    assert loss_of(net, 0).item() < 0.5 * before


RATES = (0.0, 0.02, 0.02, 0.002, 0.001, 0.03)


def papers_update(net, config):
    """v ← 0.9 v - 0.0005·ε·w - ε·g; w ← w + v, as §5 prints it."""
    velocities = [torch.zeros_like(p) for p in net.parameters()]
    for step, rate in enumerate(RATES):
        net.zero_grad()
        loss_of(net, step).backward()
        with torch.no_grad():
            for weight, velocity in zip(net.parameters(), velocities, strict=True):
                velocity.mul_(config.momentum).sub_(config.weight_decay * rate * weight)
                velocity.sub_(rate * weight.grad)
                weight.add_(velocity)


@pytest.mark.parametrize("kind", ["classical", "nesterov"])
def test_the_update_is_that_of_the_paper_when_the_learning_rate_changes_too(kind):
    ours, theirs = network(), network()
    config = TrainConfig(momentum_kind=kind, weight_decay=0.1)
    optimizer = build_optimizer(ours, config)
    for step, rate in enumerate(RATES):
        set_learning_rate(optimizer, rate)
        optimizer.zero_grad()
        loss_of(ours, step).backward()
        optimizer.step()
    papers_update(theirs, config)
    same = [
        torch.allclose(found, wanted, rtol=1e-12)
        for found, wanted in zip(ours.parameters(), theirs.parameters(), strict=True)
    ]
    assert all(same) == (kind == "classical"), same


def test_biases_have_a_learning_rate_of_their_own_and_no_decay():
    plain, ours = network(), network()
    for net, changes in ((plain, {}), (ours, {"bias_rate_factor": 2.0, "bias_decay": False})):
        for parameter in net.parameters():
            parameter.data.fill_(0.1)
        step(net, TrainConfig(learning_rate=0.001, weight_decay=0.5, **changes))
    for (name, found), wanted in zip(ours.named_parameters(), plain.parameters(), strict=True):
        moved, plainly = found - 0.1, wanted - 0.1
        if name.endswith("bias"):
            plainly = 2 * (plainly + 0.001 * 0.5 * 0.1)
        torch.testing.assert_close(moved, plainly, rtol=1e-9, atol=1e-15)


def test_each_layer_of_krizhevskys_networks_has_its_published_decay():
    name = Network.CUDA_CONVNET_18PCT
    net = build_network(NetworkSpec(name, 10, 32, lrn=True, groups=1))
    config = TrainConfig(model=name, **recipe_settings(Recipe.PAPER, name, "cifar10"))
    optimizer = build_optimizer(net, config)
    names = {parameter: name for name, parameter in net.named_parameters()}
    decays = {
        names[parameter]: group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert decays["features.0.weight"] == decays["features.8.weight"] == 0.004
    assert decays["classifier.1.weight"] == 1.0
    assert {decay for name, decay in decays.items() if name.endswith("bias")} == {0.0}
    set_learning_rate(optimizer, 0.5)
    assert {group["lr"] for group in optimizer.param_groups} == {0.5, 1.0}


def test_frozen_weights_are_not_updated():
    net = network()
    net[0].requires_grad_(False)
    before = net[0].weight.clone()
    step(net, TrainConfig(learning_rate=0.01, muon_rate=0.02), times=3)
    assert torch.equal(net[0].weight, before)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", ["weight", "momentum"])
def test_one_number_that_is_not_finite_is_found(place, value):
    net = network()
    optimizer = step(net, TrainConfig())
    assert all_finite(net, optimizer)
    bias = net[3].bias
    with torch.no_grad():
        (bias if place == "weight" else optimizer.state[bias]["momentum_buffer"])[1] = value
    assert not all_finite(net, optimizer)


def test_the_average_of_batch_statistics_follows_and_counts_are_copied():
    net = nn.BatchNorm1d(2)
    average = WeightAverage(net, decay=0.75)
    expected = None
    for number in range(3):
        net(torch.arange(8.0).view(4, 2) + number)
        average.update(net)
        seen = net.running_mean.clone()
        expected = seen if expected is None else 0.75 * expected + 0.25 * seen
    torch.testing.assert_close(average.network.running_mean, expected)
    assert int(average.network.num_batches_tracked) == 3
