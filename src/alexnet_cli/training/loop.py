"""The training loop: from a configuration to checkpoints.

Shape letters: B batch, S side of a crop, K classes.
"""

import math
import shlex
import time
from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet_cli.config import Freeze
from alexnet_cli.data.batches import Batch, BatchSettings
from alexnet_cli.data.streaming import make_batches
from alexnet_cli.errors import Interrupted, TrainingError
from alexnet_cli.evaluation.evaluate import Evaluation, evaluate
from alexnet_cli.evaluation.torch_model import torch_logits
from alexnet_cli.models.build import build_network
from alexnet_cli.models.normalise import PixelNetwork
from alexnet_cli.training import records
from alexnet_cli.training.checkpoint import (
    OPTIMIZER_FILE,
    Checkpoint,
    EpochRow,
    TrainState,
    prune_checkpoints,
    save_checkpoint,
)
from alexnet_cli.training.job import Job, Reporter
from alexnet_cli.training.memory import keep_freed_memory
from alexnet_cli.training.optimizer import (
    MOMENTUM_BUFFER,
    RATE_FACTOR,
    build_optimizer,
    set_rate,
)
from alexnet_cli.training.schedule import count_drops, crop_size_px, learning_rate
from alexnet_cli.training.stuck import StartWatch
from alexnet_cli.training.waiting import Clocked

VAL_BATCH_SIZE = 500  # on each rank


class Trainer:
    """Trains one network; `state` says where it is.

    Args:
        job: What to train.
        reporter: Told of each step and epoch.
    """

    def __init__(self, job: Job, reporter: Reporter) -> None:
        config, spec = job.config, job.manifest.input
        self.job, self.reporter, self.state = job, reporter, TrainState()
        self._has_stepped = False
        keep_freed_memory()
        core = build_network(job.manifest.network, seed=config.seed, init=config.init)
        if job.pretrained is not None:
            job.pretrained.copy_into(core, classes=job.manifest.classes)
        self.core = core.to(job.device).to(memory_format=torch.channels_last)
        self.network = PixelNetwork(self.core, spec).to(job.device)
        self.trained: nn.Module = self.network  # in `run`, wrapped to sum gradients over ranks
        if config.freeze is Freeze.FEATURES:
            self.core.get_submodule("features").requires_grad_(requires_grad=False)
        self.optimizer = build_optimizer(self.core, config)
        self._start = StartWatch(len(job.manifest.classes))
        settings = BatchSettings(
            image_size_px=spec.image_size_px,
            batch_size=config.batch_size,
            pad_px=config.pad,
            flip=config.flip,
            seed=config.seed,
            colour_axes=job.colour_axes,
        )
        self.batches = make_batches(
            job.train, settings, device=job.device, num_workers=job.num_workers
        )

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of the same configuration."""
        checkpoint.load_model(self.core)
        for name, value in checkpoint.read_tensors(OPTIMIZER_FILE).items():
            parameter = self.core.get_parameter(name)
            buffer = torch.empty_like(parameter)  # keeps the channels-last layout
            self.optimizer.state[parameter][MOMENTUM_BUFFER] = buffer.copy_(value)
        self.state = state = checkpoint.state
        # The rate that the velocity holds: after an epoch's end, that epoch's last.
        rate = self._rate(state.step - 1) if state.batch else state.history[-1].learning_rate
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group[RATE_FACTOR]

    def run(self) -> tuple[EpochRow, ...]:
        """Train to the last epoch and return the row of every epoch.

        Raises:
            Interrupted: A signal came; a checkpoint was saved.
            TrainingError: The loss is no longer a finite number.
        """
        self.trained = self.job.ranks.parallel(self.network)
        try:
            with self.job.stop:
                while self.state.epoch < self.job.config.epochs:
                    self._train_epoch()
                    self._finish_epoch()
        finally:
            self.trained = self.network  # so that the ranks can part
        return self.state.history

    def _train_epoch(self) -> None:
        """Make the remaining updates of the current epoch."""
        self.network.train()
        if self.job.config.freeze is Freeze.FEATURES:
            self.core.get_submodule("features").eval()  # statistics of batches are frozen too
        begin, state = time.perf_counter(), self.state
        # On the device, so that no step waits for a number to reach the host. This rank's share.
        loss_sum = torch.zeros((), dtype=torch.float64, device=self.job.device)
        num_right = torch.zeros((), dtype=torch.int64, device=self.job.device)
        if self.job.ranks.is_first:
            loss_sum += state.loss_sum
            num_right += state.num_right
        batches = Clocked(self._epoch_batches())
        for batch in batches:
            self._update(batch, loss_sum, num_right)
            found = self._start.look(self.network, batch, self.job.config)
            if found is not None and self.job.ranks.is_first:
                self.reporter.on_stuck(found)
            if not self._has_stepped:
                self._has_stepped = True
                self.reporter.on_first_step(time.perf_counter() - begin)
            self.state = replace(self.state, step=self.state.step + 1, batch=self.state.batch + 1)
            done = min(self.state.batch * self.job.config.batch_size, self.batches.num_images)
            self.reporter.on_step(state.epoch + 1, done, self.batches.num_images)
            signal_number = self.job.ranks.agreed_stop(self.job.stop)
            if signal_number is not None:
                self._record_progress(loss_sum, num_right, begin, batches.seconds)
                self._interrupt(signal_number)
        self._record_progress(loss_sum, num_right, begin, batches.seconds)

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

    def _update(self, batch: Batch, loss_sum: Tensor, num_right: Tensor) -> None:
        """Make one update from this rank's share of a batch, and add to the two counts."""
        config, ranks = self.job.config, self.job.ranks
        # Dropout draws from the default generator: a function of (seed, step), not of the past.
        torch.manual_seed(ranks.dropout_seed(config.seed, self.state.step))
        set_rate(self.optimizer, self._rate(self.state.step))
        self.optimizer.zero_grad(set_to_none=True)
        rest = self.batches.num_images - self.state.batch * config.batch_size
        batch_size = min(config.batch_size, rest)
        for part, gradients in ranks.micro_batches(
            self.trained, len(batch.labels_B), at_most=config.micro_batch_size
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
            if len(labels_B):
                self._start.add(loss)
        self.optimizer.step()

    def _loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return logits and mean loss."""
        images_BSSC, labels_B, colours_BC = batch
        if not len(labels_B):  # a rank without an image takes part with one that has no weight
            images_BSSC = images_BSSC.new_zeros(1, *images_BSSC.shape[1:])
            labels_B, colours_BC = labels_B.new_zeros(1), None
        dtype = self.job.dtype
        with torch.autocast(self.job.device.type, dtype, enabled=dtype != torch.float32):
            logits_BK = self.trained(images_BSSC, colours_BC)
        logits_BK = logits_BK.to(torch.promote_types(logits_BK.dtype, torch.float32))
        smoothing = self.job.config.label_smoothing
        return logits_BK, F.cross_entropy(logits_BK, labels_B, label_smoothing=smoothing)

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
        self, loss_sum: Tensor, num_right: Tensor, begin: float, wait_seconds: float
    ) -> None:
        total = float(self.job.ranks.total(loss_sum))  # waits for the device: so does the time
        self._require_finite(total)
        self.state = replace(
            self.state,
            loss_sum=total,
            num_right=int(self.job.ranks.total(num_right)),
            train_seconds=self.state.train_seconds + time.perf_counter() - begin,
            wait_seconds=self.state.wait_seconds + wait_seconds,
        )

    def _require_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise _diverged("loss is", self.state.epoch + 1, self.job.config.learning_rate)

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
        )
        self._save()
        if self.job.ranks.is_first:
            records.write_metrics(self.job.run, self.state.history)
        self.reporter.on_epoch(row, is_best=is_best)

    def _validate(self) -> Evaluation:
        def stop_between_batches(_: int) -> None:
            signal_number = ranks.agreed_stop(self.job.stop)
            if signal_number is not None:
                self._interrupt(signal_number)

        ranks, classes = self.job.ranks, self.job.manifest.classes
        model = torch_logits(self.network, device=self.job.device, dtype=self.job.dtype)
        return evaluate(
            ranks.sharded(model, num_classes=len(classes)),
            self.job.val,
            spec=self.job.manifest.input,
            classes=classes,
            num_workers=self.job.num_workers,
            batch_size=VAL_BATCH_SIZE * ranks.world_size,
            on_batch=stop_between_batches,
        )

    def _save(self) -> None:
        if not all(bool(torch.isfinite(p).all()) for p in self.core.state_dict().values()):
            raise _diverged("weights are", self.state.epoch + 1, self.job.config.learning_rate)
        if not self.job.ranks.is_first:
            return
        history = self.state.history
        provenance = replace(
            self.job.manifest.provenance,
            epoch=self.state.epoch,
            val_top1=history[-1].val_top1 if history else 0.0,
        )
        optimizer_tensors = {
            name: self.optimizer.state[parameter][MOMENTUM_BUFFER]
            for name, parameter in self.core.named_parameters()
            if MOMENTUM_BUFFER in self.optimizer.state[parameter]
        }
        folder = save_checkpoint(
            self.job.run.checkpoints,
            state=self.state,
            config=self.job.config.model_dump(mode="json"),
            manifest=replace(self.job.manifest, provenance=provenance),
            environment=self.job.environment,
            model=self.core.state_dict(),
            optimizer=optimizer_tensors,
        )
        prune_checkpoints(folder, best_step=self.state.best_step)

    def _interrupt(self, signal_number: int) -> None:
        self._save()
        self.job.ranks.wait()  # a launcher ends all when one has ended
        raise Interrupted(
            f"stopped by signal {signal_number} in epoch {self.state.epoch + 1}; "
            f"saved step {self.state.step}",
            signal_number=signal_number,
            hint=f"go on with: alexnet train --resume {shlex.quote(str(self.job.run.path))}",
        )


def _diverged(what: str, epoch: int, rate: float) -> TrainingError:
    return TrainingError(
        f"the {what} no longer finite in epoch {epoch}; that step was not saved",
        hint=f"train again with a smaller rate: alexnet train --learning-rate {rate / 10:g}",
        code="not_finite",
    )
