"""Floating-point operations of a training step.

Shape letters: N images, C channels, S side.
"""

from typing import Any

import torch
from torch import Tensor, nn


def multiply_adds(network: nn.Module, crop_px: int) -> list[int]:
    """Return the multiply-adds of each convolution and matrix layer for one image, in order.

    Args:
        network: A network on the meta device.
        crop_px: Side S of the square input.
    """
    counts: list[int] = []

    def count(layer: nn.Module, _: Any, output: Tensor) -> None:
        # Each output value is one row of the weights times as many inputs.
        counts.append(output[0].numel() * layer.weight[0].numel())

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    network.eval()(torch.empty(1, 3, crop_px, crop_px, device="meta"))
    for hook in hooks:
        hook.remove()
    return counts


def step_operations(network: nn.Module, crop_px: int, batch_size: int) -> int:
    """Return the operations of one update: forward, gradient of weights, gradient of inputs.

    Six per multiply-add, without the input gradient of the first layer. LRN, pooling and the update
    of the weights are no matrix products and not counted.
    """
    counts = multiply_adds(network, crop_px)
    return batch_size * (6 * sum(counts) - 2 * counts[0])
