"""How long the training loop waits for its data.

What an update changes: a network, its optimiser, and the running average of its weights.

Shape letters: B batch, K classes.

The training loop: from a configuration to checkpoints.
"""

import gc
import math
import shlex
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Generic, NamedTuple, NoReturn, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from alexnet_cli.config.schema import Freeze
from alexnet_cli.data.loader import Batch, make_batches
from alexnet_cli.errors import Interrupted, TrainingError
from alexnet_cli.evaluation.measure import Evaluation, evaluate
from alexnet_cli.models.build import build_network
from alexnet_cli.models.layers import PixelNetwork, torch_logits
from alexnet_cli.training import run_files as records
from alexnet_cli.training.checkpoint import (
    MODEL_FILE,
    OPTIMIZER_FILE,
    Checkpoint,
    EpochRow,
    Snapshot,
    TrainState,
    serialised,
)
from alexnet_cli.training.dead_start import DeadStartDetector
from alexnet_cli.training.device import is_out_of_memory, keep_freed_memory
from alexnet_cli.training.optimizer import (
    MOMENTUM_BUFFER,
    RATE_FACTOR,
    build_optimizer,
    set_learning_rate,
)
from alexnet_cli.training.reporting import Reporter
from alexnet_cli.training.saving import AsyncCheckpointer, CheckpointTimer, saved_steps
from alexnet_cli.training.schedule import count_drops, crop_size_px, learning_rate
from alexnet_cli.training.setup import TrainingRun, batch_settings, can_divide_batches

Item = TypeVar("Item")


class TimedIterator(Generic[Item]):
    """The items of another iterable, with the time that was waited for them.

    On CUDA this is the time of the host: work that was only queued on the device does not count.

    Attributes:
        seconds: Waited so far.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self._items: Iterator[Item] = iter(items)
        self.seconds = 0.0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        begin = time.perf_counter()
        try:
            return next(self._items)
        finally:
            self.seconds += time.perf_counter() - begin


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

    def __init__(self, job: TrainingRun) -> None:
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
        set_learning_rate(self._optimizer, rate)
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


VAL_BATCH_SIZE = 500  # on each rank
LOG_EVERY = 20
"""Updates after which the host looks at what the device has added up: looking means waiting."""


class Trainer:
    """Trains one network; `state` says where it is.

    Args:
        job: What to train.
        reporter: Told of each step and epoch.
    """

    def __init__(self, job: TrainingRun, reporter: Reporter) -> None:
        self.job, self.reporter, self.state = job, reporter, TrainState()
        self._has_stepped = False
        self.learner = Learner(job)
        self._start = DeadStartDetector(len(job.manifest.classes))
        self._saver = AsyncCheckpointer(job.run.checkpoints)
        self._clock = CheckpointTimer(job.save_interval)
        settings = batch_settings(
            job.config,
            image_size_px=job.manifest.input.image_size_px,
            colour_axes=job.colour_axes,
        )
        self.batches = make_batches(
            job.train, settings, device=job.device, num_workers=job.num_workers
        )

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of the same configuration."""
        self.state = state = checkpoint.state
        # After an epoch's end, the velocity holds that epoch's last rate.
        rate = self._rate(state.step - 1) if state.batch else state.history[-1].learning_rate
        self.learner.load(checkpoint, rate=rate)

    def run(self) -> tuple[EpochRow, ...]:
        """Train to the last epoch and return the row of every epoch.

        Raises:
            Interrupted: A signal came; a checkpoint was saved.
            TrainingError: The loss is no longer a finite number, or memory ran out.
            AlexnetError: A checkpoint cannot be written.
        """
        self._clock.restart(self.state.step)
        self.learner.join()
        self.reporter.on_start(self.learner.evaluated, self.state.history)
        try:
            with self.job.stop, self._saver:
                while self.state.epoch < self.job.config.epochs:
                    self._train_epoch()
                    self._finish_epoch()
        finally:
            self.learner.part()  # so that the ranks can part
        return self.state.history

    def _train_epoch(self) -> None:
        """Make the remaining updates of the current epoch."""
        self.learner.train_mode()
        begin, before = time.perf_counter(), self.state
        sums = self._sums_so_far()
        batches = TimedIterator(self._epoch_batches())
        for batch in batches:
            self._step(batch, sums, begin)
            done = self.state.batch == self.batches.num_batches
            is_due = not done and self._clock.is_due(self.state.step)
            signal_number, is_due = self.job.ranks.agreed(self.job.stop, save=is_due)
            stops = signal_number is not None
            if stops or is_due or done or self.state.step % LOG_EVERY == 0:
                self._record_progress(sums, before, begin, batches.seconds)
            if signal_number is not None:
                self._interrupt(signal_number)
            if is_due:
                self._save()

    def _sums_so_far(self) -> Outcome:
        """Return this rank's share of the sums, on the device: no step waits for the host."""
        device, is_first = self.job.device, self.job.ranks.is_first
        loss_sum = self.state.loss_sum if is_first else 0.0
        num_right = self.state.num_right if is_first else 0
        return Outcome(
            torch.tensor(loss_sum, dtype=torch.float64, device=device),
            torch.tensor(num_right, dtype=torch.int64, device=device),
        )

    def _step(self, batch: Batch, sums: Outcome, begin: float) -> None:
        """Make one update, add up what it came to, and report."""
        config, state = self.job.config, self.state
        rest = self.batches.num_images - state.batch * config.batch_size
        outcome = self.learner.update(
            batch,
            batch_size=min(config.batch_size, rest),
            step=state.step,
            rate=self._rate(state.step),
            on_smaller=self._note_smaller,
        )
        sums.loss_sum.add_(outcome.loss_sum)
        sums.num_right.add_(outcome.num_right)
        if num_images := len(batch.labels_B):
            self._start.add(outcome.loss_sum / num_images)
        found = self._start.look(self.learner.network, batch, config)
        if found is not None and self.job.ranks.is_first:
            self.reporter.on_stuck(found)
        if not self._has_stepped:
            self._has_stepped = True
            self.reporter.on_first_step(time.perf_counter() - begin)
        self.state = replace(self.state, step=state.step + 1, batch=state.batch + 1)
        done = min(self.state.batch * config.batch_size, self.batches.num_images)
        self.reporter.on_step(state.epoch + 1, done, self.batches.num_images)

    def _note_smaller(self, micro_batch_size: int) -> None:
        self.state = replace(self.state, micro_batch_size=micro_batch_size)
        self.reporter.on_smaller_pieces(micro_batch_size)

    def _epoch_batches(self) -> Iterator[Batch]:
        """Deal out what remains of the current epoch."""
        size_px = crop_size_px(
            self.job.config,
            final_px=self.job.manifest.input.crop_size_px,
            epoch=self.state.epoch,
        )
        return self.batches.epoch(
            self.state.epoch,
            crop_size_px=size_px,
            first_batch=self.state.batch,
            part=self.job.ranks.rank,
            num_parts=self.job.ranks.world_size,
        )

    def _rate(self, step: int) -> float:
        config = self.job.config
        drops = count_drops(
            [row.val_top1 for row in self.state.history],
            patience=config.patience,
            max_drops=config.max_drops,
        )
        steps_per_epoch = self.batches.num_batches
        return learning_rate(config, step=step, steps_per_epoch=steps_per_epoch, num_drops=drops)

    def _record_progress(
        self, sums: Outcome, before: TrainState, begin: float, wait_seconds: float
    ) -> None:
        total = float(self.job.ranks.total(sums.loss_sum))  # waits for the device: so does the time
        self._require_finite(total)  # once it is not, no later loss can make it so again
        self.state = replace(
            self.state,
            loss_sum=total,
            num_right=int(self.job.ranks.total(sums.num_right)),
            train_seconds=before.train_seconds + time.perf_counter() - begin,
            wait_seconds=before.wait_seconds + wait_seconds,
        )
        done = min(self.state.batch * self.job.config.batch_size, self.batches.num_images)
        self.reporter.on_log(
            loss=total / done,
            top1=self.state.num_right / done,
            learning_rate=self._rate(self.state.step - 1),
        )

    def _require_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            self._diverged("loss is")

    def _diverged(self, what: str) -> NoReturn:
        if self.job.ranks.is_first:
            self._saver.wait()
        rate, run = self.job.config.learning_rate / 10, shlex.quote(str(self.job.run.path))
        steps = saved_steps(self.job.run.checkpoints)
        go_on = f"alexnet train --resume {run} --allow-drift --learning-rate {rate:g}"
        start = f"alexnet train --learning-rate {rate:g}"
        saved = f"the last checkpoint is of step {steps[0]}" if steps else "nothing was saved"
        raise TrainingError(
            f"the {what} no longer finite at step {self.state.step}, in epoch "
            f"{self.state.epoch + 1}; {saved}",
            hint=f"train with a smaller rate: {go_on if steps else start}",
            code="not_finite",
        )

    def _finish_epoch(self) -> None:
        """Validate, record the epoch, save."""
        begin = time.perf_counter()
        validation = self._validate()
        self._require_finite(validation.loss)  # the last update may have done the damage
        state, num_images = self.state, self.batches.num_images
        row = EpochRow(
            epoch=state.epoch + 1,
            learning_rate=self._rate(state.step - 1),  # of the epoch's last update
            train_loss=state.loss_sum / num_images,
            train_top1=state.num_right / num_images,
            val_loss=validation.loss,
            val_top1=validation.top1,
            train_seconds=state.train_seconds,
            val_seconds=time.perf_counter() - begin,
            images_per_second=num_images / state.train_seconds,
            data_wait_share=state.wait_seconds / state.train_seconds,
        )
        is_best = all(row.val_top1 > earlier.val_top1 for earlier in state.history)
        self.state = TrainState(
            step=state.step,
            epoch=row.epoch,
            best_step=state.step if is_best else state.best_step,
            history=(*state.history, row),
            micro_batch_size=state.micro_batch_size,
        )
        self._save()
        if self.job.ranks.is_first:
            records.write_metrics(self.job.run, self.state.history)
        self.reporter.on_epoch(row, is_best=is_best)

    def _validate(self) -> Evaluation:
        def stop_between_batches(_: int) -> None:
            signal_number, _save = ranks.agreed(self.job.stop, save=False)
            if signal_number is not None:
                self._interrupt(signal_number)

        ranks, classes = self.job.ranks, self.job.manifest.classes
        model = torch_logits(self.learner.evaluated, device=self.job.device, dtype=self.job.dtype)
        scarce = self.state.micro_batch_size
        return evaluate(
            ranks.sharded(model, num_classes=len(classes)),
            self.job.val,
            spec=self.job.manifest.input,
            classes=classes,
            num_workers=self.job.num_workers,
            batch_size=min(VAL_BATCH_SIZE, scarce or VAL_BATCH_SIZE) * ranks.world_size,
            on_batch=stop_between_batches,
        )

    def _save(self) -> None:
        """Begin to write a checkpoint of what there is now; nothing but finite numbers."""
        if not self.learner.is_finite():
            self._diverged("weights are")
        self._clock.restart(self.state.step)
        if not self.job.ranks.is_first:
            return
        history = self.state.history
        provenance = replace(
            self.job.manifest.provenance,
            epoch=self.state.epoch,
            val_top1=history[-1].val_top1 if history else 0.0,
        )
        self._saver.save(
            Snapshot(
                state=self.state,
                config=self.job.config.model_dump(mode="json"),
                environment=self.job.environment,
                manifest=replace(self.job.manifest, provenance=provenance),
                colour_axes=self.job.colour_axes,
                model=serialised(self.learner.model_tensors()),
                optimizer=serialised(self.learner.optimizer_tensors()),
            )
        )

    def _interrupt(self, signal_number: int) -> NoReturn:
        self._save()
        self._saver.wait()
        self.job.ranks.wait()  # a launcher ends all when one has ended
        raise Interrupted(
            f"stopped by signal {signal_number} in epoch {self.state.epoch + 1}; "
            f"saved step {self.state.step}",
            signal_number=signal_number,
            hint=f"go on with: alexnet train --resume {shlex.quote(str(self.job.run.path))}",
        )
