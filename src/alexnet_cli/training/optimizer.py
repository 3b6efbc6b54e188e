"""The optimizer: SGD as in the paper, Muon for convolutions as an option, averaged weights.

Their saved state, too.
"""

import copy
import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from alexnet_cli.config.schema import MomentumKind, TrainConfig
from alexnet_cli.models.build import weight_layers
from alexnet_cli.training.checkpoint import MODEL_FILE, OPTIMIZER_FILE, Checkpoint
from alexnet_cli.training.device import multiplies_bf16_fast

_MOMENTUM_BUFFER, _LR_FACTOR = "momentum_buffer", "lr_factor"
_MOMENTUM, _TRAINED = "momentum.", "trained."  # prefixes in `optimizer.safetensors`
_NUM_ITERATIONS = 5


def build_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.SGD:
    """Return the optimizer of the weights that are not frozen.

    Call `set_learning_rate` before each update.
    """
    settings: dict[str, Any] = {
        "lr": config.learning_rate,
        "momentum": config.momentum,
        "nesterov": config.momentum_kind is MomentumKind.NESTEROV,
        "fused": True,
    }
    groups = _parameter_groups(network, config)
    if config.muon_rate:
        return OrthogonalSGD(network, groups, step_size=config.muon_rate, settings=settings)
    return torch.optim.SGD(groups, **settings)


def _parameter_groups(network: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Group the weights by weight decay and learning rate; some networks have them by layer."""
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
        decay, lr_factor = decays.get(id(parameter), config.weight_decay), 1.0
        if name.endswith("bias"):
            decay = config.weight_decay if config.bias_decay else 0.0
            lr_factor = config.bias_rate_factor
        groups.setdefault((decay, lr_factor), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, _LR_FACTOR: factor}
        for (decay, factor), parameters in groups.items()
    ]


def set_learning_rate(optimizer: torch.optim.SGD, learning_rate: float) -> None:
    """Set the learning rate of the next update.

    Paper §5: the momentum holds the learning rate (v ← 0.9 v - ε·(g + 0.0005 w)). PyTorch
    multiplies by it at the update instead. Here: without Nesterov, the momentum is scaled by the
    old learning rate over the new one, because this makes the two equal.
    """
    for group in optimizer.param_groups:
        old, new = group["lr"], learning_rate * group[_LR_FACTOR]
        buffers = [
            optimizer.state[parameter][_MOMENTUM_BUFFER]
            for parameter in group["params"]
            if _MOMENTUM_BUFFER in optimizer.state[parameter]
        ]
        if buffers and not group["nesterov"] and new not in (0.0, old):
            torch._foreach_mul_(buffers, old / new)
        group["lr"] = new


class OrthogonalSGD(torch.optim.SGD):
    """SGD with orthogonalised steps (Muon) for the hidden convolutions.

    The momentum of a filter bank is seen as a matrix with one row per filter. It is replaced by the
    nearest matrix whose singular values are all about 1: rare directions then move as far as
    frequent ones. The step is a fraction of the bank's norm, and the norm is kept: its scale is
    that of the initialisation, and weight decay does not apply. All other weights are updated by
    `torch.optim.SGD`. `torch.optim.Muon` takes matrices only, not filter banks.

    Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; the
    norm as in airbench94_muon.py by the same author.

    All convolutions of the network but the first take such steps; the first convolution's weights
    are in the first group. `step_size` is a fraction of the bank's norm, at the initial learning
    rate.
    """

    def __init__(
        self,
        network: nn.Module,
        groups: list[dict[str, Any]],
        *,
        step_size: float,
        settings: dict[str, Any],
    ) -> None:
        convolutions = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d)]
        self._filters = convolutions[1:]
        self._step_size, self._initial_lr = step_size, settings["lr"]
        super().__init__(groups, **settings)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all weights. The convolutions' gradients are None afterwards."""
        group = self.param_groups[0]
        length = self._step_size * group["lr"] / self._initial_lr
        for weight in self._filters:
            if weight.grad is None:
                continue
            if _MOMENTUM_BUFFER not in self.state[weight]:
                self.state[weight][_MOMENTUM_BUFFER] = torch.zeros_like(weight)
            momentum = self.state[weight][_MOMENTUM_BUFFER]
            momentum.mul_(group["momentum"]).add_(weight.grad)
            ahead = weight.grad + group["momentum"] * momentum if group["nesterov"] else momentum
            direction = -orthogonalised(ahead.flatten(1)).view_as(weight)
            norm = weight.norm()
            weight.add_(direction * (norm / direction.norm()), alpha=length)
            weight.mul_(norm / weight.norm())
            weight.grad = None  # so that SGD skips it
        loss: float | None = super().step(closure)
        return loss


def orthogonalised(matrix_MN: Tensor) -> Tensor:
    """Return a matrix with the same singular vectors and singular values of about 1 (0.7–1.2).

    Five Newton–Schulz iterations of a quintic: in bfloat16 where the device multiplies it faster
    than float32, unless the matrix is float64. Zeros stay zeros.
    """
    is_tall = matrix_MN.shape[0] > matrix_MN.shape[1]
    x = matrix_MN.T if is_tall else matrix_MN
    x = x if x.dtype is torch.float64 else x.to(_fast_dtype(x.device))
    x = x / (x.norm() + 1e-7)
    for _ in range(_NUM_ITERATIONS):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    result: Tensor = (x.T if is_tall else x).to(matrix_MN.dtype)
    return result


@functools.cache  # reading /proc/cpuinfo takes milliseconds on a large machine
def _fast_dtype(device: torch.device) -> torch.dtype:
    return torch.bfloat16 if multiplies_bf16_fast(device) else torch.float32


class WeightAverage:
    """The exponential moving average of a network's weights and batch statistics.

    `torch.optim.swa_utils.AveragedModel` would do, but it waits for the device at each update.
    """

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(requires_grad=False)
        self._decay = decay
        self._has_begun = False

    def load(self, checkpoint: Checkpoint, tensors: dict[str, Tensor]) -> None:
        """Continue from the average of a checkpoint."""
        checkpoint.load_into(self.network, tensors)
        self._has_begun = True

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average towards the network; the first time, to it."""
        own, new = self.network.state_dict(), network.state_dict()
        averaged: set[str] = set()
        if self._has_begun:  # counts of batches are no averages
            averaged = {name for name, tensor in own.items() if tensor.is_floating_point()}
            torch._foreach_lerp_(
                [own[name] for name in averaged], [new[name] for name in averaged], 1 - self._decay
            )
        for name in own.keys() - averaged:
            own[name].copy_(new[name])
        self._has_begun = True


def _momentum(network: nn.Module, optimizer: torch.optim.SGD) -> dict[str, Tensor]:
    """Return the momentum of each weight that has been updated, by the weight's name."""
    return {
        name: optimizer.state[parameter][_MOMENTUM_BUFFER]
        for name, parameter in network.named_parameters()
        if _MOMENTUM_BUFFER in optimizer.state[parameter]
    }


def all_finite(network: nn.Module, optimizer: torch.optim.SGD) -> bool:
    """Return whether weights and momentum hold finite numbers only; waits for the device."""
    tensors = [*network.state_dict().values(), *_momentum(network, optimizer).values()]
    largest = torch._foreach_norm([t for t in tensors if t.is_floating_point()], math.inf)
    return bool(torch.stack(largest).isfinite().all())


def optimizer_tensors(
    network: nn.Module, optimizer: torch.optim.SGD, *, has_ema: bool
) -> dict[str, Tensor]:
    """Return the content of `optimizer.safetensors`: the momentum, and with an EMA the weights.

    `model.safetensors` then holds the averaged weights.
    """
    momentum = _momentum(network, optimizer)
    tensors = {f"{_MOMENTUM}{name}": value for name, value in momentum.items()}
    if has_ema:
        tensors |= {f"{_TRAINED}{name}": value for name, value in network.state_dict().items()}
    return tensors


def load_tensors(
    checkpoint: Checkpoint,
    network: nn.Module,
    optimizer: torch.optim.SGD,
    ema: WeightAverage | None,
    *,
    learning_rate: float,
) -> None:
    """Load weights, their running average and the momentum from a checkpoint.

    The learning rate is that of the last update, which the momentum holds.

    Raises:
        CheckpointError: Names or shapes differ.
    """
    model, others = checkpoint.read_tensors(MODEL_FILE), checkpoint.read_tensors(OPTIMIZER_FILE)
    trained = _without_prefix(others, _TRAINED)
    checkpoint.load_into(network, trained or model)
    if ema is not None and trained:
        ema.load(checkpoint, model)
    for name, value in _without_prefix(others, _MOMENTUM).items():
        parameter = network.get_parameter(name)
        buffer = torch.empty_like(parameter)  # keeps the channels-last layout
        optimizer.state[parameter][_MOMENTUM_BUFFER] = buffer.copy_(value)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group[_LR_FACTOR]


def _without_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
