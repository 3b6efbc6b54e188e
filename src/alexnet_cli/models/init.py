"""Initial weights."""

import torch
from torch import nn


def init_he(network: nn.Module, generator: torch.Generator) -> None:
    """Give hidden layers the variance that ReLUs preserve, the last layer N(0, 0.01), biases 0.

    Paper: weights N(0, 0.01), biases 1 in conv2, conv4, conv5 and the hidden fully connected
    layers (§5). Here: He's initialisation and zero biases, because the paper's start needs
    inputs of 0–255 (mean subtracted, standard deviation about 70): on inputs of unit variance
    its logits hardly depend on the image, and training sits at ln(classes).

    Args:
        network: Changed in place.
        generator: The source of randomness, on the CPU.

    Source: He et al. 2015, "Delving Deep into Rectifiers", eq. 10.
    """
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for layer in layers[:-1]:
            fan_in = layer.weight[0].numel()
            layer.weight.normal_(0.0, (2.0 / fan_in) ** 0.5, generator=generator)
        # The paper's scale suits the last layer: the first loss is then ln(classes).
        layers[-1].weight.normal_(0.0, 0.01, generator=generator)
        for layer in layers:
            if layer.bias is not None:
                layer.bias.zero_()
