import numpy as np
import pytest
import torch
from torch import nn

from alexnet_cli.models.layers import SameMapNorm, to_unit_range, torch_logits


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
