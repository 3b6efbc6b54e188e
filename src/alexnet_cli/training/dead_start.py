"""Detection of a dead start: the loss stays at ln(classes), as if all images were the same.

Shape letters: B batch, K classes.
"""

import math

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

Layers = dict[str, tuple[float | None, float | None]]
"""By layer, from input to output: the norm of the gradient of its weights (None: frozen), and the
fraction of its ReLUs that are 0 for every image (None: it has no ReLU)."""


class DeadStartDetector:
    """Collects the losses of the first updates, on their device, and checks them twice."""

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
            loss, spread, layers = examine(model, batch, config)
            if spread >= _FLAT and len(self._check_steps) > 1:  # it may only be slow
                self._check_steps, self._losses = self._check_steps[1:], []
                return ""
            warning = self._describe(loss, spread, layers, config)
        self._check_steps, self._losses = [], []
        return warning

    def _is_at_chance(self) -> bool:
        """Return whether the later half of the losses is at chance level.

        A network that has begun to learn is below it, however little; noisy labels are above.
        """
        late = torch.stack(self._losses[len(self._losses) // 2 :])
        return -_LEARNED < float(late.mean()) / self._chance - 1 < _WORSE

    def _describe(self, loss: float, spread: float, layers: Layers, config: TrainConfig) -> str:
        """Return the warning, one line for each layer that is trained, and the hint."""
        lines = [
            f"warning: no progress after {self.num_updates} updates: the loss, {loss:.3f}, "
            f"equals chance level, ln(classes) = {self._chance:.3f}; a logit varies by "
            f"{spread:.1e} over the images"
        ]
        for name, (gradient_norm, dead_fraction) in layers.items():
            dead = "" if dead_fraction is None else f"  dead ReLUs {dead_fraction:4.0%}"
            if gradient_norm is not None:
                lines.append(f"  {name:<14} gradient {gradient_norm:8.1e}{dead}")
        most_dead = max((dead or 0.0 for _, dead in layers.values()), default=0.0)
        return "\n".join([*lines, f"hint: start again with {_suggest(config, most_dead)}"])


def examine(model: PixelNetwork, batch: Batch, config: TrainConfig) -> tuple[float, float, Layers]:
    """Examine one forward and backward pass; the model is unchanged afterwards.

    Returns:
        The loss in nats; the standard deviation of a logit over the images, mean over classes; the
        layers.
    """
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
    fractions = [*dead, *[None] * (len(layers) - len(dead))]
    names = {id(module): name for name, module in model.network.named_modules()}
    found: Layers = {
        names[id(layer)]: (norms.get(id(layer)), fraction)
        for layer, fraction in zip(layers, fractions, strict=True)
    }
    return float(loss.detach()), float(logits_BK.detach().std(dim=0).mean()), found


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
