"""Detection of a dead start: the loss stays at ln(classes), as if all images were the same.

Shape letters: B batch, K classes.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet_cli.config.schema import Init, InputScaling, TrainConfig
from alexnet_cli.data.batches import Batch
from alexnet_cli.models.build import PixelNetwork, weight_layers

CHECK_STEPS = (200, 1_000)
"""Updates after which the loss is checked: early for a network whose output does not depend on the
image, which cannot recover; later for one that may only be slow."""

_MIN_IMAGES, _MAX_IMAGES = 2, 64  # of the batch that is examined
_FLAT = 0.003  # spread of a logit over images; He's start has some hundredths
_LEARNED, _WORSE = 0.001, 0.02  # fractions of ln(classes) below and above it
_MOSTLY_DEAD = 0.9


class LayerHealth(NamedTuple):
    gradient_norm: float | None  # of its weights; None: frozen
    dead_fraction: float | None  # of its ReLUs, 0 for every image; None: it has none


class Examination(NamedTuple):
    """The result of one forward and backward pass."""

    loss: float  # nats
    logit_spread: float  # standard deviation of a logit over the images, mean over classes
    layers: dict[str, LayerHealth]  # from input to output


class DeadStartDetector:
    """The losses of the first updates, kept on their device and checked twice."""

    def __init__(self, num_classes: int) -> None:
        self.num_updates = 0  # of this process
        self._chance, self._losses = math.log(num_classes), list[Tensor]()
        self._check_steps = list(CHECK_STEPS)

    def check(
        self, model: PixelNetwork, batch: Batch, loss_sum: Tensor, config: TrainConfig
    ) -> str:
        """Count an update and, when a check is due, return the warning of a dead start, or "".

        The batch is this rank's subset, `loss_sum` the sum of its losses.
        """
        self.num_updates += 1
        if not self._check_steps:
            return ""
        if num_images := len(batch.labels_B):
            self._losses.append(loss_sum / num_images)
        if self.num_updates < self._check_steps[0] or num_images < _MIN_IMAGES:
            return ""
        warning = ""
        if self._is_at_chance():
            found = examine(model, batch, config)
            if found.logit_spread >= _FLAT and len(self._check_steps) > 1:  # it may only be slow
                self._check_steps, self._losses = self._check_steps[1:], []
                return ""
            warning = self._describe(found, config)
        self._check_steps, self._losses = [], []
        return warning

    def _is_at_chance(self) -> bool:
        """Return whether the later half of the losses is at chance level.

        A network that has begun to learn is below it, however little; noisy labels are above.
        """
        late = torch.stack(self._losses[len(self._losses) // 2 :])
        excess = float(late.mean()) / self._chance - 1
        has_learned, is_noisy = excess <= -_LEARNED, excess >= _WORSE
        return not has_learned and not is_noisy

    def _describe(self, found: Examination, config: TrainConfig) -> str:
        """Return the warning, one line for each layer that is trained, and the hint."""
        lines = [
            f"warning: no progress after {self.num_updates} updates: the loss, {found.loss:.3f}, "
            f"equals chance level, ln(classes) = {self._chance:.3f}; a logit varies by "
            f"{found.logit_spread:.1e} over the images"
        ]
        for name, (gradient_norm, dead_fraction) in found.layers.items():
            dead = "" if dead_fraction is None else f"  dead ReLUs {dead_fraction:4.0%}"
            if gradient_norm is not None:
                lines.append(f"  {name:<14} gradient {gradient_norm:8.1e}{dead}")
        dead_fractions = (layer.dead_fraction or 0.0 for layer in found.layers.values())
        most_dead = max(dead_fractions, default=0.0)
        return "\n".join([*lines, f"hint: start again with {_suggest(config, most_dead)}"])


def examine(model: PixelNetwork, batch: Batch, config: TrainConfig) -> Examination:
    """Run one forward and backward pass; leave the model unchanged."""
    modes = {module: module.training for module in model.modules()}
    most = min(_MAX_IMAGES, config.micro_batch_size or _MAX_IMAGES)
    batch = batch.take(slice(0, max(most, _MIN_IMAGES)))
    model.eval()  # no dropout, and batch statistics do not change
    dead: list[float] = []

    def count_dead(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        output = output.detach()
        per_unit = output.flatten(2).amax(dim=(0, 2)) if output.ndim > 2 else output.amax(0)
        dead.append(float((per_unit <= 0).float().mean()))

    relus = [module for module in model.modules() if isinstance(module, nn.ReLU)]
    handles = [relu.register_forward_hook(count_dead) for relu in relus]
    logits_BK = model(batch.images_BSSC)
    loss = F.cross_entropy(logits_BK, batch.labels_B)
    for handle in handles:
        handle.remove()
    for module, was_training in modes.items():
        module.training = was_training

    layers = weight_layers(model.network)
    trained = [layer for layer in layers if layer.weight.requires_grad]
    gradients = torch.autograd.grad(loss, [layer.weight for layer in trained])
    norms = {id(t): float(g.norm()) for t, g in zip(trained, gradients, strict=True)}
    # The last layers have no ReLU.
    fractions = [*dead, *[None] * (len(layers) - len(dead))]
    names = {id(module): name for name, module in model.network.named_modules()}
    health = {
        names[id(layer)]: LayerHealth(norms.get(id(layer)), fraction)
        for layer, fraction in zip(layers, fractions, strict=True)
    }
    return Examination(float(loss.detach()), float(logits_BK.detach().std(dim=0).mean()), health)


def _suggest(config: TrainConfig, dead_fraction: float) -> str:
    if config.init is not Init.HE and config.input_scaling is InputScaling.STANDARD:
        return (
            "--init he, or with --input-scaling centred: these initial weights need inputs of 0-255"
        )
    if dead_fraction > _MOSTLY_DEAD:
        return f"--learning-rate {config.learning_rate / 10:g}: most ReLUs of a layer have died"
    if config.init is not Init.HE:
        return "--init he --input-scaling standard"
    return f"--learning-rate {config.learning_rate * 3:g}, or --schedule constant without warm-up"
