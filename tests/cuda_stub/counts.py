"""Count the launches, waits and copies of updates that believe they are on a GPU.

`python -m tests.cuda_stub.counts SETTINGS [--streamed]` prints a line of JSON for each of three
updates: the counts of taking a batch and of the update. It needs the libraries of `build.py`.
"""

import ctypes
import dataclasses
import json
import sys
from pathlib import Path

import torch
from torch import nn

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.data import batches
from alexnet_cli.training.device import resolve_device
from alexnet_cli.training.loop import Trainer
from alexnet_cli.training.run import prepare_run

_cudart, _driver = ctypes.CDLL("libcudart.so.13"), ctypes.CDLL("libcuda.so.1")
_KINDS = ("launches", "waits", "device_to_host", "host_to_device", "device_to_device")


def read_counts():
    """Return the counts since the last call."""
    numbers = (ctypes.c_long * len(_KINDS))()
    _cudart.fakeStats(numbers)
    counts = dict(zip(_KINDS, numbers, strict=True))
    counts["launches"] += _driver.fakeDriverLaunches()  # of Triton
    return counts


class _Convolution(torch.autograd.Function):
    """A launch each for output, input gradient and weight gradient, in place of cuDNN's."""

    @staticmethod
    def forward(ctx, x, weight, bias, layer):
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        side = (x.shape[2] + 2 * layer.padding[0] - weight.shape[2]) // layer.stride[0] + 1
        shape = (x.shape[0], weight.shape[0], side, side)
        y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        _cudart.fakeGemm()
        return y if bias is None else y.add_(bias[:, None, None])

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        needs_dx = ctx.needs_input_grad[0]
        for _ in range(1 + needs_dx):
            _cudart.fakeGemm()
        dx = torch.empty_like(x) if needs_dx else None
        return dx, torch.empty_like(weight), grad.sum((0, 2, 3)) if ctx.has_bias else None, None


def _convolve(layer, x):
    weight, bias = layer.weight, layer.bias
    if torch.is_autocast_enabled("cuda"):
        dtype = torch.get_autocast_dtype("cuda")
        weight, x = weight.to(dtype), x.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    return _Convolution.apply(x, weight, bias, layer)


def main():
    torch.backends.cudnn.enabled = False
    nn.Conv2d.forward = _convolve
    if "--streamed" in sys.argv:  # as a set that is too large to stay on the device
        batches.fits_in_memory = lambda *_: False
    config = TrainConfig(data="shapes", val_size=9_000, **json.loads(sys.argv[1]))
    run = prepare_run(config, resolve_device("cuda"), name="run", parent=Path("runs"))
    trainer = Trainer(run)
    epoch = trainer._epoch_batches()
    for _ in range(3):
        read_counts()
        batch = next(epoch)
        taken = read_counts()
        trainer._update(batch)
        json.dump({"batch": taken, "update": read_counts()}, sys.stdout)
        sys.stdout.write("\n")
        state = trainer.state
        trainer.state = dataclasses.replace(state, step=state.step + 1, batch=state.batch + 1)


if __name__ == "__main__":
    main()
