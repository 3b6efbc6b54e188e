"""The CUDA kernels of the LRN: x is read from memory once, y is written once.

Both see the tensor as its flat storage. The neighbour channel of element i is i ± `stride`, 1 in
channels-last and H·W in channels-first, so that one kernel serves both, with coalesced loads; the
repeated loads of neighbours come from the cache.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from alexnet_cli.models.lrn import Constants

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_BLOCK = 512


@triton.jit
def _window(x, at, channel, exists, C, stride, SIZE: tl.constexpr):
    """Sum of squares of the SIZE channels around each element."""
    total = tl.zeros(at.shape, tl.float32)
    for j in tl.static_range(SIZE):
        other = channel + (j - SIZE // 2)
        inside = exists & (other >= 0) & (other < C)
        value = tl.load(x + at + (j - SIZE // 2) * stride, mask=inside, other=0.0).to(tl.float32)
        total += value * value
    return total


@triton.jit
def _power(d, beta, IS_THREE_QUARTERS: tl.constexpr):
    """d^-beta."""
    if IS_THREE_QUARTERS:
        root = 1.0 / tl.sqrt(d)
        return root * tl.sqrt(root)
    return tl.exp2(-beta * tl.log2(d))


@triton.jit
def _forward(
    x, y, num, C, stride, alpha, beta, k,
    SIZE: tl.constexpr, IS_THREE_QUARTERS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    exists = at < num
    channel = (at // stride) % C
    d = k + alpha * _window(x, at, channel, exists, C, stride, SIZE)
    value = tl.load(x + at, mask=exists, other=0.0).to(tl.float32)
    result = value * _power(d, beta, IS_THREE_QUARTERS)
    tl.store(y + at, result.to(y.dtype.element_ty), mask=exists)


@triton.jit
def _backward(
    x, grad, dx, num, C, stride, alpha, beta, k,
    SIZE: tl.constexpr, IS_THREE_QUARTERS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    exists = at < num
    channel = (at // stride) % C
    through = tl.zeros(at.shape, tl.float32)
    direct = tl.zeros(at.shape, tl.float32)
    for j in tl.static_range(SIZE):
        other = channel + (j - SIZE // 2)
        inside = exists & (other >= 0) & (other < C)
        place = at + (j - SIZE // 2) * stride
        value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
        g = tl.load(grad + place, mask=inside, other=0.0).to(tl.float32)
        d = k + alpha * _window(x, place, other, inside, C, stride, SIZE)
        scaled = g * _power(d, beta, IS_THREE_QUARTERS)
        through += tl.where(inside, scaled * value / d, 0.0)
        if j == SIZE // 2:
            direct = scaled
    value = tl.load(x + at, mask=exists, other=0.0).to(tl.float32)
    result = direct - 2.0 * alpha * beta * value * through
    tl.store(dx + at, result.to(dx.dtype.element_ty), mask=exists)


def normalise(x_NCHW: Tensor, grad_NCHW: Tensor | None, constants: Constants) -> Tensor:
    """Return y, or with a gradient of y the gradient of x; arguments as in `lrn.convolve`.

    The activities are on a CUDA device, of one of `DTYPES`, channels-last or not. The result has
    their memory format.
    """
    size, alpha, beta, k = constants
    is_last = x_NCHW.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if is_last else torch.contiguous_format
    x = x_NCHW.contiguous(memory_format=layout)
    result = torch.empty_like(x, memory_format=layout)
    if x.numel() == 0:
        return result
    channels = x.shape[1]
    stride = 1 if is_last else x.shape[2] * x.shape[3]
    arguments = (x.numel(), channels, stride, alpha / size, beta, k, size, beta == 0.75, _BLOCK)
    grid = (triton.cdiv(x.numel(), _BLOCK),)
    # Triton launches on the current device, not on the tensor's; -1 leaves it as it is.
    with torch.cuda.device(x.device if x.is_cuda else -1):
        if grad_NCHW is None:
            _forward[grid](x, result, *arguments)
        else:
            _backward[grid](x, grad_NCHW.contiguous(memory_format=layout), result, *arguments)
    return result
