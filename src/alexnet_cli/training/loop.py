"""The training loop: from a configuration to checkpoints."""

import math
import shlex
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import NoReturn

import torch

from alexnet_cli.data.batches import Batch
from alexnet_cli.data.streaming import make_batches
from alexnet_cli.errors import Interrupted, TrainingError
from alexnet_cli.evaluation.evaluate import Evaluation, evaluate
from alexnet_cli.evaluation.torch_model import torch_logits
from alexnet_cli.training import records
from alexnet_cli.training.checkpoint import Checkpoint, EpochRow, Snapshot, TrainState, serialised
from alexnet_cli.training.job import Job
from alexnet_cli.training.learner import Learner, Outcome
from alexnet_cli.training.prepare import batch_settings
from alexnet_cli.training.reporter import Reporter
from alexnet_cli.training.retention import saved_steps
from alexnet_cli.training.saving import SaveClock, Saver
from alexnet_cli.training.schedule import count_drops, crop_size_px, learning_rate
from alexnet_cli.training.stuck import StartWatch
from alexnet_cli.training.waiting import Clocked

VAL_BATCH_SIZE = 500  # on each rank
LOOK_EVERY = 20
"""Updates after which the host looks at what the device has added up: looking means waiting."""


class Trainer:
    """Trains one network; `state` says where it is.

    Args:
        job: What to train.
        reporter: Told of each step and epoch.
    """

    def __init__(self, job: Job, reporter: Reporter) -> None:
        self.job, self.reporter, self.state = job, reporter, TrainState()
        self._has_stepped = False
        self.learner = Learner(job)
        self._start = StartWatch(len(job.manifest.classes))
        self._saver = Saver(job.run.checkpoints)
        self._clock = SaveClock(job.save_interval)
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
        batches = Clocked(self._epoch_batches())
        for batch in batches:
            self._step(batch, sums, begin)
            done = self.state.batch == self.batches.num_batches
            is_due = not done and self._clock.is_due(self.state.step)
            signal_number, is_due = self.job.ranks.agreed(self.job.stop, save=is_due)
            stops = signal_number is not None
            if stops or is_due or done or self.state.step % LOOK_EVERY == 0:
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
        self.reporter.on_look(
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
