import pytest
import torch
from torch import nn

from alexnet_cli.models.lrn import LocalResponseNorm

SETTINGS = [  # channels, size, alpha, beta, k
    (96, 5, 1e-4, 0.75, 2.0),  # the paper's
    (3, 5, 1e-4, 0.75, 2.0),  # fewer channels than the window
    (1, 3, 1e-2, 0.75, 1.0),
    (8, 3, 5e-5, 0.75, 1.0),
    (16, 9, 1e-3, 0.75, 1.0),
    (7, 5, 1e-2, 0.5, 1.0),
    (6, 1, 1e-2, 1.0, 3.0),
]


def activities(channels):
    """Large enough for the normalisation to matter: x² is in the thousands."""
    generator = torch.Generator().manual_seed(channels)
    return 50 * torch.randn((2, channels, 4, 3), generator=generator, dtype=torch.float64)


def run(module, x, grad):
    x = x.clone().requires_grad_()
    y = module(x)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    y.backward(grad)
    return y.detach().double(), x.grad.double()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize(("channels", "size", "alpha", "beta", "k"), SETTINGS)
def test_equals_torch_forward_and_backward(channels, size, alpha, beta, k, dtype, tolerance):
    ours = LocalResponseNorm(channels, size=size, alpha=alpha, beta=beta, k=k)
    reference = nn.LocalResponseNorm(size, alpha, beta, k)
    x = activities(channels).to(dtype)  # rounded first, so that both see the same numbers
    grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    expected = run(reference, x.double(), grad.double())
    for found, wanted in zip(run(ours, x, grad), expected, strict=True):
        torch.testing.assert_close(
            found, wanted, rtol=tolerance, atol=tolerance * wanted.abs().max()
        )


def test_the_defaults_are_the_papers_constants():
    x = activities(12)
    torch.testing.assert_close(
        LocalResponseNorm(12)(x), nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0)(x), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("beta", [0.75, 0.6])
def test_gradient_by_finite_differences(beta):
    module = LocalResponseNorm(4, size=3, alpha=0.5, beta=beta, k=1.0)
    x = activities(4).div(50).requires_grad_()
    assert torch.autograd.gradcheck(module, (x,))


@pytest.mark.parametrize("size", [2, 4])
def test_an_even_window_is_refused(size):
    with pytest.raises(ValueError, match="odd"):
        LocalResponseNorm(8, size=size)


def test_the_band_is_not_part_of_the_weights():
    assert not LocalResponseNorm(8).state_dict()
