"""A start that does not start: the loss sits at ln(classes), as if every image were the same.

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

FIRST_LOOK, LAST_LOOK = 200, 1_000
"""Updates after which the loss is looked at: early for a network whose answers do not depend on the
image, which nothing will mend; later for one that may only be slow."""

_NUM_LOOKED_AT = (2, 64)  # images, at least and at most

_FLAT = 0.003  # spread of a logit over images; He's start has some hundredths
_LEARNED, _WORSE = 0.001, 0.02  # shares of ln(classes) below and above it
_MOSTLY_DEAD = 0.9


@dataclass(frozen=True)
class LayerHealth:
    """What a layer does with the images of one batch.

    Attributes:
        name: Name of its weights in the network.
        gradient_norm: Of its weights.
        dead_share: Share of its ReLUs that are 0 for every image, 0–1; none: it has no ReLU.
    """

    name: str
    gradient_norm: float
    dead_share: float | None


@dataclass(frozen=True)
class DeadStart:
    """Why training does not start.

    Attributes:
        num_updates: Made so far.
        loss: On one batch, in nats.
        chance: ln(classes), the loss of a network that knows nothing.
        logit_spread: Standard deviation of a logit over the images of the batch, mean over classes.
        layers: From input to output.
        cure: A setting that helps.
    """

    num_updates: int
    loss: float
    chance: float
    logit_spread: float
    layers: tuple[LayerHealth, ...]
    cure: str

    @property
    def is_hopeless(self) -> bool:
        """Whether all images get the same answer."""
        return self.logit_spread < _FLAT


class DeadStartDetector:
    """Keeps the losses of the first updates, on their device, until they are looked at.

    Args:
        num_classes: Classes K.
    """

    def __init__(self, num_classes: int) -> None:
        self._chance, self._losses, self._num_updates = math.log(num_classes), list[Tensor](), 0
        self._looks = [FIRST_LOOK, LAST_LOOK]

    def add(self, loss: Tensor) -> None:
        """Note the loss of a part of a batch."""
        if self._looks:
            self._losses.append(loss.detach())

    def look(self, network: PixelNetwork, batch: Batch, config: TrainConfig) -> DeadStart | None:
        """Count an update and, when it is time, say why training has not started, if so.

        Args:
            network: In training.
            batch: Images to look with.
            config: The run's settings.
        """
        self._num_updates += 1
        too_few = len(batch.labels_B) < _NUM_LOOKED_AT[0] or not self._losses
        if not self._looks or self._num_updates < self._looks[0] or too_few:
            return None
        found = None
        if self.is_stuck():
            found = diagnose(network, batch, config, num_updates=self._num_updates)
            if not found.is_hopeless and len(self._looks) > 1:  # it may be slow: look once more
                self._looks, self._losses = self._looks[1:], []
                return None
        self._looks, self._losses = [], []
        return found

    def is_stuck(self) -> bool:
        """Tell whether the second half of the losses is where it would be by chance.

        What has begun to learn is below it, however little; noise of the labels is above.
        """
        late = torch.stack(self._losses[len(self._losses) // 2 :])
        return -_LEARNED < float(late.mean()) / self._chance - 1 < _WORSE


def diagnose(
    network: PixelNetwork, batch: Batch, config: TrainConfig, *, num_updates: int
) -> DeadStart:
    """Look at one forward and backward pass; the network is afterwards as it was.

    Args:
        network: In training.
        batch: Images to look with.
        config: The run's settings, from which the cure is chosen.
        num_updates: Made so far.
    """
    modes = {module: module.training for module in network.modules()}
    at_most = min(_NUM_LOOKED_AT[1], config.micro_batch_size or _NUM_LOOKED_AT[1])
    batch = batch.part(slice(0, max(at_most, _NUM_LOOKED_AT[0])))
    network.eval()  # no dropout, and no statistics of batches change
    dead: list[float] = []

    def count_dead(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        per_unit = (
            output.detach().flatten(2).amax(dim=(0, 2)) if output.ndim > 2 else output.amax(0)
        )
        dead.append(float((per_unit <= 0).float().mean()))

    relus = [module for module in network.modules() if isinstance(module, nn.ReLU)]
    handles = [relu.register_forward_hook(count_dead) for relu in relus]
    layers = {name: layer for name, layer in network.network.named_modules()
              if layer in weight_layers(network.network)}  # fmt: skip
    weights = [layer.weight for layer in layers.values() if layer.weight.requires_grad]
    logits_BK = network(batch.images_BSSC)
    loss = F.cross_entropy(logits_BK, batch.labels_B)
    gradients = dict(zip(map(id, weights), torch.autograd.grad(loss, weights), strict=True))
    for handle in handles:
        handle.remove()
    for module, was_training in modes.items():
        module.training = was_training
    shares = [*dead, *[None] * (len(layers) - len(dead))]
    health = tuple(
        LayerHealth(name, float(gradients[id(layer.weight)].norm()), share)
        for (name, layer), share in zip(layers.items(), shares, strict=True)
        if id(layer.weight) in gradients
    )
    return DeadStart(
        num_updates=num_updates,
        loss=float(loss.detach()),
        chance=math.log(logits_BK.shape[1]),
        logit_spread=float(logits_BK.detach().std(dim=0).mean()),
        layers=health,
        cure=_cure(config, max(dead, default=0.0)),
    )


def _cure(config: TrainConfig, dead_share: float) -> str:
    is_small = config.input_scaling is InputScaling.STANDARD
    if config.init is not Init.HE and is_small:
        return (
            "--init he, or with --input-scaling centred: these initial weights need inputs of 0-255"
        )
    if dead_share > _MOSTLY_DEAD:
        return f"--learning-rate {config.learning_rate / 10:g}: most ReLUs of a layer have died"
    if config.init is not Init.HE:
        return "--init he --input-scaling standard"
    return f"--learning-rate {config.learning_rate * 3:g}, or --schedule constant without warm-up"
