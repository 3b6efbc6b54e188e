"""What an update changes: a network, its optimiser, and the running average of its weights.

Shape letters: B batch, K classes.
"""

import gc
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from alexnet_cli.config import Freeze
from alexnet_cli.data.batches import Batch
from alexnet_cli.errors import TrainingError
from alexnet_cli.models.build import build_network
from alexnet_cli.models.normalise import PixelNetwork
from alexnet_cli.training.checkpoint import MODEL_FILE, OPTIMIZER_FILE, Checkpoint
from alexnet_cli.training.job import Job
from alexnet_cli.training.memory import is_out_of_memory, keep_freed_memory
from alexnet_cli.training.optimizer import (
    MOMENTUM_BUFFER,
    RATE_FACTOR,
    build_optimizer,
    set_rate,
)
from alexnet_cli.training.prepare import can_divide_batches

_MOMENTUM, _TRAINED = "momentum.", "trained."  # before names in `optimizer.safetensors`


class Outcome(NamedTuple):
    """What the images of one update came to, on the device.

    Attributes:
        loss_sum: Sum of their losses, float64.
        num_right: Number classified right, int64.
    """

    loss_sum: Tensor
    num_right: Tensor


class Learner:
    """A network in training.

    Args:
        job: What to train.

    Attributes:
        core: The network that is trained.
        network: The same behind its input scaling.
        evaluated: What is validated, exported and kept: `network`, or the average of its weights.
        micro_batch_size: Images in memory at once; 0: the whole batch.
    """

    def __init__(self, job: Job) -> None:
        config, spec = job.config, job.manifest.input
        self._job = job
        keep_freed_memory()
        core = build_network(job.manifest.network, seed=config.seed, init=config.init)
        if job.pretrained is not None:
            job.pretrained.copy_into(core, classes=job.manifest.classes)
        self.core = core.to(job.device).to(memory_format=torch.channels_last)
        self.network = PixelNetwork(self.core, spec).to(job.device)
        self._trained: nn.Module = self.network  # while joined, wrapped to sum gradients over ranks
        if config.freeze is Freeze.FEATURES:
            self.core.get_submodule("features").requires_grad_(requires_grad=False)
        self._optimizer = build_optimizer(self.core, config)
        self.micro_batch_size = config.micro_batch_size
        self._average: AveragedModel | None = None
        self.evaluated = self.network
        if config.ema_decay:
            average = get_ema_multi_avg_fn(config.ema_decay)  # type: ignore[no-untyped-call]
            self._average = AveragedModel(self.core, multi_avg_fn=average, use_buffers=True)
            self.evaluated = PixelNetwork(self._average.module, spec).to(job.device)

    def join(self) -> None:
        """Sum gradients over all ranks from now on."""
        self._trained = self._job.ranks.parallel(self.network)

    def part(self) -> None:
        """Let go of the other ranks."""
        self._trained = self.network

    def train_mode(self) -> None:
        """Switch to training; what is frozen stays as in evaluation, its statistics too."""
        self.network.train()
        if self._job.config.freeze is Freeze.FEATURES:
            self.core.get_submodule("features").eval()

    def update(
        self,
        batch: Batch,
        *,
        batch_size: int,
        step: int,
        rate: float,
        on_smaller: Callable[[int], None],
    ) -> Outcome:
        """Make one update; where memory runs out, with smaller pieces of the batch.

        Args:
            batch: This rank's share of the batch.
            batch_size: Images of the whole batch.
            step: Updates made before; with the seed, it determines the dropout.
            rate: Learning rate.
            on_smaller: Told the new `micro_batch_size`, if it had to shrink.

        Raises:
            TrainingError: Memory runs out, and the batch cannot be divided.
        """
        set_rate(self._optimizer, rate)
        while True:
            # A function of (seed, step), not of the past: dropout draws from this generator.
            torch.manual_seed(self._job.ranks.dropout_seed(self._job.config.seed, step))
            self._optimizer.zero_grad(set_to_none=True)
            outcome = self._gradients(batch, batch_size=batch_size)
            if outcome is not None:
                break
            self.micro_batch_size = self._halved(len(batch.labels_B))
            on_smaller(self.micro_batch_size)
        self._optimizer.step()
        if self._average is not None:
            self._average.update_parameters(self.core)
        return outcome

    def _gradients(self, batch: Batch, *, batch_size: int) -> Outcome | None:
        """Add up the gradients of a batch; none where memory ran out."""
        try:
            return self._add_gradients(batch, batch_size=batch_size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        self._optimizer.zero_grad(set_to_none=True)
        gc.collect()  # the failed pass is held by the error's frames until here
        if self._job.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _add_gradients(self, batch: Batch, *, batch_size: int) -> Outcome:
        ranks, device = self._job.ranks, self._job.device
        loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        num_right = torch.zeros((), dtype=torch.int64, device=device)
        for part, gradients in ranks.micro_batches(
            self._trained, len(batch.labels_B), at_most=self.micro_batch_size
        ):
            micro = batch.part(part)
            labels_B = micro.labels_B
            with gradients:
                logits_BK, loss = self._loss(micro)
                # The mean over ranks of these is the mean over the batch.
                weight = len(labels_B) * ranks.world_size / batch_size
                (loss * weight).backward()  # type: ignore[no-untyped-call]
            loss_sum += loss.detach() * len(labels_B)
            num_right += (logits_BK.detach().argmax(dim=1)[: len(labels_B)] == labels_B).sum()
        return Outcome(loss_sum, num_right)

    def _loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return logits and mean loss."""
        images_BSSC, labels_B, colours_BC = batch
        if not len(labels_B):  # a rank without an image takes part with one that has no weight
            images_BSSC = images_BSSC.new_zeros(1, *images_BSSC.shape[1:])
            labels_B, colours_BC = labels_B.new_zeros(1), None
        dtype = self._job.dtype
        with torch.autocast(self._job.device.type, dtype, enabled=dtype != torch.float32):
            logits_BK = self._trained(images_BSSC, colours_BC)
        logits_BK = logits_BK.to(torch.promote_types(logits_BK.dtype, torch.float32))
        smoothing = self._job.config.label_smoothing
        return logits_BK, F.cross_entropy(logits_BK, labels_B, label_smoothing=smoothing)

    def _halved(self, num_images: int) -> int:
        size = (self.micro_batch_size or num_images) // 2
        # The other ranks may be in the middle of summing gradients.
        if size and self._job.ranks.is_alone and can_divide_batches(self._job.manifest.network):
            return size
        smaller = size or self._job.config.batch_size // 2 or 1
        flag = "--batch-size" if self._job.ranks.is_alone else "--micro-batch-size"
        raise TrainingError(
            f"not enough memory on {self._job.device} for {self.micro_batch_size or num_images} "
            "images at once",
            hint=f"train with fewer: {flag} {smaller}",
            code="out_of_memory",
        )

    def is_finite(self) -> bool:
        """Tell whether all that a checkpoint would hold is finite; waits for the device."""
        tensors = [*self.core.state_dict().values(), *self._momentum().values()]
        return bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())

    def _momentum(self) -> dict[str, Tensor]:
        return {
            f"{_MOMENTUM}{name}": self._optimizer.state[parameter][MOMENTUM_BUFFER]
            for name, parameter in self.core.named_parameters()
            if MOMENTUM_BUFFER in self._optimizer.state[parameter]
        }

    def model_tensors(self) -> dict[str, Tensor]:
        """Return the weights that are evaluated."""
        return dict(self.evaluated.network.state_dict())

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """Return what else is needed to go on."""
        if self._average is None:
            return self._momentum()
        trained = {f"{_TRAINED}{name}": t for name, t in self.core.state_dict().items()}
        return {**self._momentum(), **trained}

    def load(self, checkpoint: Checkpoint, *, rate: float) -> None:
        """Take up a checkpoint.

        Args:
            checkpoint: Of the same network.
            rate: The learning rate of the last update, which the velocity holds.
        """
        model, others = checkpoint.read_tensors(MODEL_FILE), checkpoint.read_tensors(OPTIMIZER_FILE)
        trained = _named(others, _TRAINED)
        checkpoint.load_into(self.core, trained or model)
        if self._average is not None and trained:
            checkpoint.load_into(self._average.module, model)
            self._average.n_averaged.fill_(1)  # begun: all that matters to it
        for name, value in _named(others, _MOMENTUM).items():
            parameter = self.core.get_parameter(name)
            buffer = torch.empty_like(parameter)  # keeps the channels-last layout
            self._optimizer.state[parameter][MOMENTUM_BUFFER] = buffer.copy_(value)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group[RATE_FACTOR]
        if checkpoint.state.micro_batch_size:
            self.micro_batch_size = checkpoint.state.micro_batch_size


def _named(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
