import pytest
import torch
from torch import nn

from alexnet_cli.config import TrainConfig
from alexnet_cli.training.optimizer import MOMENTUM_BUFFER, build_optimizer, orthogonalised


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3, groups=2), nn.Flatten(), nn.Linear(6, 2)
    ).double()


def step(net, config, *, times=1):
    optimizer = build_optimizer(net, config)
    images = torch.arange(5 * 75, dtype=torch.float64).sin().view(5, 3, 5, 5)
    for _ in range(times):
        optimizer.zero_grad()
        net(images).square().sum().backward()
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


def test_nothing_to_orthogonalise_stays_nothing():
    assert not orthogonalised(torch.zeros(3, 5)).any()


def test_hidden_filters_turn_by_the_rate_and_keep_their_norm():
    net, before = network(), network()
    optimizer = step(net, TrainConfig(muon_rate=0.02, nesterov=True, learning_rate=0.5))
    new, old = net[1].weight.detach(), before[1].weight.detach()
    torch.testing.assert_close(new.norm(), old.norm())
    assert float((new - old).norm() / old.norm()) == pytest.approx(0.02, rel=0.05)
    assert set(optimizer.state[net[1].weight]) == {MOMENTUM_BUFFER}


def test_every_other_weight_is_updated_by_sgd():
    ours, theirs = network(), network()
    config = TrainConfig(muon_rate=0.02, learning_rate=0.001)
    step(ours, config)
    step(theirs, config.model_copy(update={"muon_rate": 0.0}))
    for (name, found), wanted in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(found, wanted) == (name != "1.weight"), name


def test_the_turn_follows_the_learning_rate():
    net, before = network(), network()
    optimizer = build_optimizer(net, TrainConfig(muon_rate=0.02, learning_rate=0.5))
    optimizer.param_groups[0]["lr"] = 0.125  # a quarter: later in the schedule
    net(torch.ones(2, 3, 5, 5, dtype=torch.float64)).sum().backward()
    optimizer.step()
    new, old = net[1].weight.detach(), before[1].weight.detach()
    moved = (new - old).norm() / old.norm()
    assert float(moved) == pytest.approx(0.005, rel=0.05)


def test_the_loss_falls():
    net = network()
    images = torch.arange(5 * 75, dtype=torch.float64).sin().view(5, 3, 5, 5)
    before = net(images).square().sum().item()
    step(net, TrainConfig(muon_rate=0.05, nesterov=True, learning_rate=0.001), times=30)
    assert net(images).square().sum().item() < 0.5 * before
