import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from alexnet_cli.models import lrn
from alexnet_cli.models.lrn import (
    Constants,
    LocalResponseNorm,
    convolve,
    kernel_name,
    normalise_in_c,
)

SETTINGS = [  # channels, size, alpha, beta, k
    (96, 5, 1e-4, 0.75, 2.0),  # the paper's
    (3, 5, 1e-4, 0.75, 2.0),  # fewer channels than the window
    (1, 3, 1e-2, 0.75, 1.0),
    (8, 3, 5e-5, 0.75, 1.0),
    (16, 9, 1e-3, 0.75, 1.0),
    (7, 5, 1e-2, 0.5, 1.0),
    (6, 1, 1e-2, 1.0, 3.0),
]
KERNELS = [convolve, normalise_in_c]
LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.fixture(scope="module", autouse=True)
def has_compiler():
    assert lrn.why_unavailable() is None, "the tests need a C compiler"


def activities(channels, shape=(2, 4, 3)):
    """Large enough for the normalisation to matter: x² is in the thousands."""
    generator = torch.Generator().manual_seed(channels)
    n, height, width = shape
    return 50 * torch.randn((n, channels, height, width), generator=generator, dtype=torch.float64)


def reference(x, grad, size, alpha, beta, k):
    """PyTorch's own layer in float64: result and gradient."""
    x = x.double().requires_grad_()
    y = nn.LocalResponseNorm(size, alpha, beta, k)(x)
    y.backward(grad.double())
    return y.detach(), x.grad


def assert_near(found, wanted, tolerance):
    torch.testing.assert_close(
        found.double(), wanted, rtol=tolerance, atol=tolerance * float(wanted.abs().max())
    )


@pytest.mark.parametrize("kernel", KERNELS, ids=["convolution", "C"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float32, 1e-6), (torch.bfloat16, 1e-2)],
    ids=str,
)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize(("channels", "size", "alpha", "beta", "k"), SETTINGS)
def test_equals_torch_forward_and_backward(
    channels, size, alpha, beta, k, layout, dtype, tolerance, kernel
):
    constants = Constants(size, alpha, beta, k)
    x = activities(channels).to(dtype).to(memory_format=layout)
    grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    y, dx = kernel(x, None, constants), kernel(x, grad, constants)
    assert (y.shape, y.dtype, dx.shape, dx.dtype) == (x.shape, dtype, x.shape, dtype)
    expected = reference(x, grad, *constants)
    if dtype is torch.bfloat16 and kernel is convolve:
        tolerance *= 4  # every intermediate is rounded to 8 bits
    assert_near(y, expected[0], tolerance)
    assert_near(dx, expected[1], tolerance)


@settings(max_examples=60)
@given(
    channels=st.integers(1, 130),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    batch=st.integers(0, 3),
    size=st.sampled_from([1, 3, 5, 7]),
    beta=st.sampled_from([0.75, 0.5, 1.3]),
    layout=st.sampled_from([*LAYOUTS, None]),
)
def test_any_shape_agrees_in_any_layout(channels, height, width, batch, size, beta, layout):
    x = activities(channels, (batch, height, width)).float()
    x = x.permute(0, 3, 1, 2) if layout is None else x.contiguous(memory_format=layout)
    grad = torch.ones_like(x)
    constants = Constants(size, 1e-2, beta, 1.5)
    if batch == 0:
        assert normalise_in_c(x, None, constants).shape == x.shape
        return
    expected = reference(x, grad, *constants)
    for found, wanted in zip(
        (normalise_in_c(x, None, constants), normalise_in_c(x, grad, constants)),
        expected,
        strict=True,
    ):
        assert_near(found, wanted, 1e-6)


def test_the_number_of_threads_does_not_change_a_bit():
    x = activities(96, (4, 9, 9)).float()
    constants = Constants(5, 1e-2, 0.75, 1.0)
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(normalise_in_c(x, x, constants))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_what_is_not_a_number_comes_through(dtype):
    x = torch.ones(1, 8, 1, 2, dtype=dtype)
    x[0, 0, 0, 0] = float("nan")
    y = normalise_in_c(x, None, Constants(3, 1.0, 0.75, 1.0))
    assert y[0, :2, 0, 0].isnan().all()
    assert y[0, 2:].isfinite().all()
    assert y[0, :, 0, 1].isfinite().all()


def test_the_layer_has_the_papers_constants_and_uses_the_compiled_kernel():
    x = activities(12)
    torch.testing.assert_close(
        LocalResponseNorm()(x), nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0)(x), rtol=1e-12, atol=0
    )
    assert lrn._kernel_for(x) is normalise_in_c
    assert lrn._kernel_for(x.half()) is convolve
    assert kernel_name(torch.device("cpu")) == "compiled C"


@pytest.mark.parametrize("beta", [0.75, 0.6])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_gradient_by_finite_differences(beta, layout):
    module = LocalResponseNorm(size=3, alpha=0.5, beta=beta, k=1.0)
    x = activities(4).div(50).to(memory_format=layout).requires_grad_()
    assert torch.autograd.gradcheck(module, (x,))


@pytest.mark.parametrize("size", [2, 4])
def test_an_even_window_is_refused(size):
    with pytest.raises(ValueError, match="odd"):
        LocalResponseNorm(size=size)


FALLBACK = """
import torch
from alexnet_cli.models.lrn import LocalResponseNorm, kernel_name
print(kernel_name(torch.device("cpu")))
print(LocalResponseNorm()(torch.full((1, 6, 2, 2), 3.0)).sum().item())
"""


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, "cc was not found"),
        pytest.param(
            "#!/bin/sh\necho broken >&2\nexit 1\n", "broken", marks=pytest.mark.slow, id="broken"
        ),
    ],
)
def test_without_a_working_compiler_the_convolution_serves(tmp_path, script, reason):
    if script is not None:
        compiler = tmp_path / "cc"
        compiler.write_text(script)
        compiler.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", FALLBACK],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    name, total = done.stdout.splitlines()
    assert name.startswith("convolution (")
    assert reason in name
    expected = nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0)(torch.full((1, 6, 2, 2), 3.0)).sum()
    assert float(total) == pytest.approx(float(expected), rel=1e-6)


KERNEL = """
import torch
from alexnet_cli.models.lrn import LocalResponseNorm, why_unavailable
assert why_unavailable() is None
print(LocalResponseNorm()(torch.full((1, 6, 2, 2), 3.0)).sum().item())
"""


def test_a_damaged_kernel_is_compiled_again(tmp_path):
    def run():
        environment = {**os.environ, "ALEXNET_HOME": str(tmp_path)}
        done = subprocess.run([sys.executable, "-c", KERNEL], env=environment,
                              capture_output=True, text=True, check=True)  # fmt: skip
        return done.stdout

    answer = run()
    (kernel,) = (tmp_path / "kernels").iterdir()
    whole = kernel.read_bytes()
    kernel.write_bytes(whole[: len(whole) // 2])  # the loader would end the process
    assert run() == answer
    assert kernel.read_bytes() == whole


TRITON = """
import torch
from torch import nn
from alexnet_cli.models import lrn_triton
from alexnet_cli.models.lrn import Constants
for layout in (torch.contiguous_format, torch.channels_last):
    for channels, size, beta in ((7, 5, 0.75), (16, 3, 0.6), (3, 5, 0.75)):
        x = (20 * torch.randn(2, channels, 5, 6)).to(memory_format=layout).requires_grad_()
        grad = torch.randn_like(x)
        y = nn.LocalResponseNorm(size, 1e-2, beta, 1.5)(x)
        y.backward(grad)
        constants = Constants(size, 1e-2, beta, 1.5)
        found = lrn_triton.normalise(x.detach(), None, constants)
        found_dx = lrn_triton.normalise(x.detach(), grad, constants)
        torch.testing.assert_close(found, y.detach(), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found_dx, x.grad, rtol=1e-5, atol=1e-5)
print("equal")
"""


def test_the_cuda_kernels_logic_in_tritons_interpreter():
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-c", TRITON],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "equal\n", done.stderr
