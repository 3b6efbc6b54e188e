"""Part `lrn`: one local response normalisation, forward and backward.

Shape letters: N batch, C channels, H height, W width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet_cli.models.lrn import LocalResponseNorm
from alexnet_cli.training.device import keep_freed_memory
from benchmarks.isolated_process import isolated_process
from benchmarks.metrics import Comparison, Goal
from benchmarks.settings import Settings
from benchmarks.timing import Work, alternate, times

_PEER = "F.local_response_norm, float32 channels-first"
_VARIANTS = {
    "float32 channels-first": (torch.float32, torch.contiguous_format),
    "float32 channels-last": (torch.float32, torch.channels_last),
    "bfloat16 channels-last": (torch.bfloat16, torch.channels_last),
}


def measure(settings: Settings) -> list[Comparison]:
    """Compare this project's layer, in each number format and layout, with PyTorch's function."""
    with isolated_process(build_alexnet, settings, device=settings.device) as works:
        works |= {_PEER: times(settings.inner, _native(settings))}
        seconds = alternate(works, repeats=settings.repeats, device=settings.device)
    per_pass = {
        name: [1e3 * sample / settings.inner for sample in samples]
        for name, samples in seconds.items()
    }
    goal = Goal(">=", 5 if settings.device.type == "cuda" else 20)
    size = "×".join(map(str, settings.lrn_shape))
    return [
        Comparison(
            "lrn", f"{name}, {size}", _PEER, "ms", per_pass[name], per_pass[_PEER],
            is_inverse=True, goal=goal,
        )
        for name in _VARIANTS
    ]  # fmt: skip


def _native(settings: Settings) -> Work:
    x_NCHW, grad_NCHW = _activities(settings, torch.float32, torch.contiguous_format)

    def forward_and_backward() -> None:
        x_NCHW.grad = None
        F.local_response_norm(x_NCHW, 5, alpha=1e-4, beta=0.75, k=2.0).backward(grad_NCHW)

    return forward_and_backward


def build_alexnet(settings: Settings) -> dict[str, Work]:
    """Return this project's variants, in a process set up as for training."""
    keep_freed_memory()
    return {
        name: times(settings.inner, _alexnet(settings, dtype, layout))
        for name, (dtype, layout) in _VARIANTS.items()
    }


def _alexnet(settings: Settings, dtype: torch.dtype, layout: torch.memory_format) -> Work:
    layer = LocalResponseNorm(size=5, alpha=1e-4, beta=0.75, k=2.0)
    x_NCHW, grad_NCHW = _activities(settings, dtype, layout)

    def forward_and_backward() -> None:
        x_NCHW.grad = None
        layer(x_NCHW).backward(grad_NCHW)

    return forward_and_backward


def _activities(
    settings: Settings, dtype: torch.dtype, layout: torch.memory_format
) -> tuple[Tensor, Tensor]:
    """Return an input that requires its gradient, and a gradient of the output."""
    generator = torch.Generator().manual_seed(0)
    x, grad = (
        torch.randn(settings.lrn_shape, generator=generator)
        .to(settings.device, dtype)
        .contiguous(memory_format=layout)
        for _ in range(2)
    )
    return x.requires_grad_(), grad
