"""Local response normalisation across channels (paper §3.3), fast forward and backward.

Shape letters: N batch, C channels, H height, W width.
"""

import functools
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from alexnet_cli.models import lrn_native
from alexnet_cli.networks import Departure


class LocalResponseNorm(nn.Module):
    """Divide each activity by a power of the summed squares of its neighbour channels.

    `y_c = x_c / (k + α/n · Σ x_j²)^β`, the sum over the n channels centred on c.

    Why not `torch.nn.LocalResponseNorm`: it averages through a 3-D pooling of a padded copy, and
    was the slowest part of the network. Here a kernel reads the activities once: compiled C
    on the CPU, Triton on CUDA. Where there is neither, the window sum is a 1×1 convolution of x²
    with a band matrix. Only the input is kept for the backward pass, which is written out.

    Source: paper §3.3; `computerhistory/AlexNet-Source-Code`, layer type `cmrnorm`.
    """

    departures = (
        Departure(
            paper="the formula prints α·Σ",
            here="α/n·Σ",
            because="the original code divides by the window size, as `torch.nn.LocalResponseNorm` "
            "and the ONNX operator `LRN` do",
        ),
    )

    def __init__(
        self, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0
    ) -> None:
        super().__init__()
        if size % 2 == 0:
            raise ValueError(f"size must be odd to have a centre, not {size}")
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x_NCHW: Tensor) -> Tensor:
        if torch.onnx.is_in_onnx_export():
            # One native node instead of the nine that this computation decomposes into.
            node: Tensor = torch.onnx.ops.symbolic(
                "LRN",
                (x_NCHW,),
                {"size": self.size, "alpha": self.alpha, "beta": self.beta, "bias": self.k},
                dtype=x_NCHW.dtype,
                shape=x_NCHW.shape,
            )
            return node
        result: Tensor = _LRN.apply(x_NCHW, self.size, self.alpha, self.beta, self.k)
        return result

    def extra_repr(self) -> str:
        return f"size={self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class _LRN(torch.autograd.Function):
    """`y = x · d^-β` with `d = k + α/n · window(x²)`; β·d^-(β+1) is its derivative's factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.constants = {"size": size, "alpha": alpha, "beta": beta, "k": k}
        return _kernel_for(x)(x, None, **ctx.constants)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        (x,) = ctx.saved_tensors
        return _kernel_for(x)(x, grad, **ctx.constants), None, None, None, None


def kernel_name(device: torch.device) -> str:
    """Describe the kernel that a device uses, with the reason if it is the slow one."""
    if device.type == "cpu":
        reason = lrn_native.why_unavailable()
        return "compiled C" if reason is None else f"convolution ({reason})"
    return "Triton" if _triton() is not None else "convolution (Triton is not installed)"


def _kernel_for(x: Tensor) -> Callable[..., Tensor]:
    if x.is_cpu and x.dtype in lrn_native.DTYPES and lrn_native.why_unavailable() is None:
        return lrn_native.normalise
    if x.is_cuda:
        kernels = _triton()
        if kernels is not None and x.dtype in kernels.DTYPES:
            kernel: Callable[..., Tensor] = kernels.normalise
            return kernel
    return convolve


@functools.cache
def _triton() -> ModuleType | None:
    """Import the CUDA kernels; PyTorch's Linux wheels bring Triton, others do not."""
    try:
        return importlib.import_module("alexnet_cli.models.lrn_triton")
    except ImportError:
        return None


def convolve(
    x_NCHW: Tensor,
    grad_NCHW: Tensor | None = None,
    *,
    size: int,
    alpha: float,
    beta: float,
    k: float,
) -> Tensor:
    """Return y, or with a gradient of y the gradient of x, anywhere PyTorch runs.

    dL/dx = g·d^-β - 2αβ/n · x · bandᵀ∗(g·x·d^-(β+1)), and the band is symmetric. The constants are
    those of `LocalResponseNorm`.
    """
    channel = torch.arange(x_NCHW.shape[1], device=x_NCHW.device)
    is_neighbour = (channel[:, None] - channel[None, :]).abs() <= size // 2
    # Zeros and ones are exact in every dtype.
    band_OI11 = is_neighbour.to(x_NCHW.dtype)[:, :, None, None]
    d = F.conv2d(x_NCHW * x_NCHW, band_OI11).mul_(alpha / size).add_(k)
    power = d.pow(-beta)
    if grad_NCHW is None:
        return x_NCHW * power
    direct = grad_NCHW * power
    through = F.conv2d(direct * x_NCHW / d, band_OI11)
    return direct.sub_(through.mul_(x_NCHW).mul_(2.0 * beta * alpha / size))
