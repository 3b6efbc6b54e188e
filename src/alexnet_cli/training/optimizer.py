"""The update: SGD as in the paper, and orthogonalised steps for convolutions as an option."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from alexnet_cli.config.schema import MomentumKind, TrainConfig
from alexnet_cli.models.build import weight_layers
from alexnet_cli.training.device import multiplies_bf16_fast

MOMENTUM_BUFFER, RATE_FACTOR = "momentum_buffer", "rate_factor"
_NUM_ITERATIONS = 5


class OrthogonalSGD(torch.optim.SGD):
    """SGD in which the filters of hidden convolutions turn by orthogonalised steps (Muon).

    The momentum of such a filter bank, seen as a matrix of one row a filter, is replaced by the
    nearest matrix whose singular values are all about 1, so that rare directions move as far as
    frequent ones. The step is a share of the bank's norm, which is kept: its scale is the
    initialisation's, and weight decay does not apply. Everything else is `torch.optim.SGD`.

    Why own code: `torch.optim.Muon` takes matrices only, not filter banks.

    Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks", and
    airbench94_muon.py of the same author for the norm.

    Args:
        network: Its hidden convolutions (all but the first) turn; the rest is SGD's.
        groups: All its weights, the first convolution's in the first group.
        rate: Length of a step as a share of the bank's norm, at the initial learning rate.
        settings: Of `torch.optim.SGD`.
    """

    def __init__(
        self,
        network: nn.Module,
        groups: list[dict[str, Any]],
        *,
        rate: float,
        settings: dict[str, Any],
    ) -> None:
        convolutions = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d)]
        self._filters = convolutions[1:]
        self._rate, self._initial_lr = rate, settings["lr"]
        super().__init__(groups, **settings)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all weights; gradients of convolutions are gone afterwards."""
        group = self.param_groups[0]
        length = self._rate * group["lr"] / self._initial_lr
        for weight in self._filters:
            if weight.grad is None:
                continue
            if MOMENTUM_BUFFER not in self.state[weight]:
                self.state[weight][MOMENTUM_BUFFER] = torch.zeros_like(weight)
            velocity = self.state[weight][MOMENTUM_BUFFER]
            velocity.mul_(group["momentum"]).add_(weight.grad)
            ahead = weight.grad + group["momentum"] * velocity if group["nesterov"] else velocity
            _turn(weight, towards=-orthogonalised(ahead.flatten(1)).view_as(weight), length=length)
            weight.grad = None  # so that SGD passes it over
        loss: float | None = super().step(closure)
        return loss


def _turn(weight: Tensor, *, towards: Tensor, length: float) -> None:
    """Move by `length` times the norm in a direction of unit norm, and keep the norm."""
    norm = weight.norm()
    weight.add_(towards * (norm / towards.norm()), alpha=length)
    weight.mul_(norm / weight.norm())


def orthogonalised(matrix_MN: Tensor) -> Tensor:
    """Return a matrix with the same singular vectors and singular values of about 1 (0.7–1.2).

    Five Newton–Schulz iterations of a quintic: in bfloat16 where the device multiplies it faster
    than float32, unless the matrix is float64.

    Args:
        matrix_MN: Any matrix; zeros stay zeros.
    """
    is_tall = matrix_MN.shape[0] > matrix_MN.shape[1]
    x = matrix_MN.T if is_tall else matrix_MN
    x = x if x.dtype is torch.float64 else x.to(_fast_format(x.device))
    x = x / (x.norm() + 1e-7)
    for _ in range(_NUM_ITERATIONS):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    result: Tensor = (x.T if is_tall else x).to(matrix_MN.dtype)
    return result


@functools.cache  # a large machine takes milliseconds to say
def _fast_format(device: torch.device) -> torch.dtype:
    return torch.bfloat16 if multiplies_bf16_fast(device) else torch.float32


def build_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.SGD:
    """Return the optimiser of a configuration; `set_learning_rate` belongs before each update.

    Args:
        network: Whose weights to update, as far as they are not frozen.
        config: Rates, momentum, weight decay.
    """
    settings: dict[str, Any] = {
        "lr": config.learning_rate,
        "momentum": config.momentum,
        "nesterov": config.momentum_kind is MomentumKind.NESTEROV,
        "fused": True,
    }
    groups = _groups(network, config)
    if config.muon_rate:
        return OrthogonalSGD(network, groups, rate=config.muon_rate, settings=settings)
    return torch.optim.SGD(groups, **settings)


def _groups(network: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Sort the weights by decay and rate, which are published by layer for some networks."""
    layers = weight_layers(network)
    factors = config.model.info.decay_factors or (1.0,) * len(layers)
    decays = {
        id(layer.weight): config.weight_decay * factor
        for layer, factor in zip(layers, factors, strict=True)
    }
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        decay, rate_factor = decays.get(id(parameter), config.weight_decay), 1.0
        if name.endswith("bias"):
            decay = config.weight_decay if config.bias_decay else 0.0
            rate_factor = config.bias_rate_factor
        groups.setdefault((decay, rate_factor), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, RATE_FACTOR: factor}
        for (decay, factor), parameters in groups.items()
    ]


def set_learning_rate(optimizer: torch.optim.SGD, rate: float) -> None:
    """Set the rate of the next update.

    Paper §5: the velocity holds the rate (v ← 0.9 v - ε·(g + 0.0005 w)), while PyTorch multiplies
    by it at the update. Without Nesterov, what is gathered so far is therefore scaled by old rate
    over new, which makes the two equal.
    """
    for group in optimizer.param_groups:
        old, new = group["lr"], rate * group[RATE_FACTOR]
        buffers = [
            optimizer.state[parameter][MOMENTUM_BUFFER]
            for parameter in group["params"]
            if MOMENTUM_BUFFER in optimizer.state[parameter]
        ]
        if buffers and not group["nesterov"] and new not in (0.0, old):
            torch._foreach_mul_(buffers, old / new)
        group["lr"] = new
