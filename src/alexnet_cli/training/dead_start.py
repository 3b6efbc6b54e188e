"""Detection of a dead start: the loss stays at ln(classes), as if all images were the same.

Shape letters: B batch, K classes.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet_cli.config.schema import Init, InputScaling, TrainConfig
from alexnet_cli.data.loader import Batch
from alexnet_cli.models.build import weight_layers
from alexnet_cli.models.layers import PixelNetwork

CHECK_STEPS = (200, 1_000)
"""Updates after which the loss is checked: early for a network whose output does not depend on the
image, which cannot recover; later for one that may only be slow."""

_MIN_IMAGES, _MAX_IMAGES = 2, 64  # of the batch that is examined

_FLAT = 0.003  # spread of a logit over images; He's start has some hundredths
_LEARNED, _WORSE = 0.001, 0.02  # fractions of ln(classes) below and above it
_MOSTLY_DEAD = 0.9


@dataclass(frozen=True)
class LayerHealth:
    """State of a layer for the images of one batch.

    Attributes:
        name: Name of its weights in the network.
        gradient_norm: Norm of the gradient of its weights.
        dead_fraction: Fraction of its ReLUs that are 0 for every image; None: it has no ReLU.
    """

    name: str
    gradient_norm: float
    dead_fraction: float | None


@dataclass(frozen=True)
class DeadStart:
    """Diagnosis of a training that does not start.

    Attributes:
        num_updates: Updates made so far.
        loss: Loss of one batch, in nats.
        chance: ln(classes), the loss of guessing.
        logit_spread: Standard deviation of a logit over the images, mean over classes.
        layers: The layers from input to output.
        suggestion: Options that help.
    """

    num_updates: int
    loss: float
    chance: float
    logit_spread: float
    layers: tuple[LayerHealth, ...]
    suggestion: str

    @property
    def is_hopeless(self) -> bool:
        """Whether all images get the same output."""
        return self.logit_spread < _FLAT

    def describe(self) -> str:
        """Return the warning, one line for each layer, and the hint."""
        lines = [
            f"warning: no progress after {self.num_updates} updates: the loss, {self.loss:.3f}, "
            f"equals chance level, ln(classes) = {self.chance:.3f}; a logit varies by "
            f"{self.logit_spread:.1e} over the images"
        ]
        for layer in self.layers:
            dead = "" if layer.dead_fraction is None else f"  dead ReLUs {layer.dead_fraction:4.0%}"
            lines.append(f"  {layer.name:<14} gradient {layer.gradient_norm:8.1e}{dead}")
        return "\n".join([*lines, f"hint: start again with {self.suggestion}"])


class DeadStartDetector:
    """Collects the losses of the first updates, on their device, and checks them twice."""

    def __init__(self, num_classes: int) -> None:
        self._chance, self._losses, self._num_updates = math.log(num_classes), list[Tensor](), 0
        self._check_steps = list(CHECK_STEPS)

    def add(self, loss: Tensor) -> None:
        """Add the mean loss of this rank's subset of a batch."""
        if self._check_steps:
            self._losses.append(loss.detach())

    def check(self, model: PixelNetwork, batch: Batch, config: TrainConfig) -> DeadStart | None:
        """Count an update and, when a check is due, return the diagnosis of a dead start.

        Args:
            model: The model in training.
            batch: Images for the diagnosis.
            config: The run's settings.
        """
        self._num_updates += 1
        too_few = len(batch.labels_B) < _MIN_IMAGES or not self._losses
        if not self._check_steps or self._num_updates < self._check_steps[0] or too_few:
            return None
        found = None
        if self.is_at_chance():
            found = diagnose(model, batch, config, num_updates=self._num_updates)
            if not found.is_hopeless and len(self._check_steps) > 1:  # it may only be slow
                self._check_steps, self._losses = self._check_steps[1:], []
                return None
        self._check_steps, self._losses = [], []
        return found

    def is_at_chance(self) -> bool:
        """Return whether the later half of the losses is at chance level.

        A network that has begun to learn is below it, however little; noisy labels are above.
        """
        late = torch.stack(self._losses[len(self._losses) // 2 :])
        return -_LEARNED < float(late.mean()) / self._chance - 1 < _WORSE


def diagnose(
    model: PixelNetwork, batch: Batch, config: TrainConfig, *, num_updates: int
) -> DeadStart:
    """Examine one forward and backward pass; the model is unchanged afterwards.

    Args:
        model: The model in training.
        batch: Images to examine it with.
        config: The run's settings, for the suggestion.
        num_updates: Updates made so far.
    """
    modes = {module: module.training for module in model.modules()}
    most = min(_MAX_IMAGES, config.micro_batch_size or _MAX_IMAGES)
    batch = batch.part(slice(0, max(most, _MIN_IMAGES)))
    model.eval()  # no dropout, and batch statistics do not change
    dead: list[float] = []

    def count_dead(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        per_unit = (
            output.detach().flatten(2).amax(dim=(0, 2)) if output.ndim > 2 else output.amax(0)
        )
        dead.append(float((per_unit <= 0).float().mean()))

    relus = [module for module in model.modules() if isinstance(module, nn.ReLU)]
    handles = [relu.register_forward_hook(count_dead) for relu in relus]
    layers = {
        name: layer
        for name, layer in model.network.named_modules()
        if layer in weight_layers(model.network)
    }
    weights = [layer.weight for layer in layers.values() if layer.weight.requires_grad]
    logits_BK = model(batch.images_BSSC)
    loss = F.cross_entropy(logits_BK, batch.labels_B)
    gradients = dict(zip(map(id, weights), torch.autograd.grad(loss, weights), strict=True))
    for handle in handles:
        handle.remove()
    for module, was_training in modes.items():
        module.training = was_training
    fractions = [*dead, *[None] * (len(layers) - len(dead))]
    return DeadStart(
        num_updates=num_updates,
        loss=float(loss.detach()),
        chance=math.log(logits_BK.shape[1]),
        logit_spread=float(logits_BK.detach().std(dim=0).mean()),
        layers=tuple(
            LayerHealth(name, float(gradients[id(layer.weight)].norm()), fraction)
            for (name, layer), fraction in zip(layers.items(), fractions, strict=True)
            if id(layer.weight) in gradients
        ),
        suggestion=_suggest(config, max(dead, default=0.0)),
    )


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
