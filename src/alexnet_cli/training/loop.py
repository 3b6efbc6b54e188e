"""The training loop: an epoch, its updates (`Trainer._update`), the log, validation, saving.

Shape letters: B batch, S side of a crop, K classes.
"""

import math
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet_cli.config.schema import Freeze
from alexnet_cli.data.batches import Batch, make_batches
from alexnet_cli.errors import Interrupted, TrainingError
from alexnet_cli.evaluation.measure import predict_probabilities
from alexnet_cli.evaluation.metrics import Evaluation, summarise
from alexnet_cli.files import folder_identity
from alexnet_cli.models.build import PixelNetwork, build_network, torch_logits
from alexnet_cli.run_folder import SAVE_MINUTES
from alexnet_cli.training import run_files
from alexnet_cli.training.checkpoint import (
    AsyncCheckpointer,
    Checkpoint,
    EpochRow,
    TrainState,
    saved_steps,
    to_safetensors,
)
from alexnet_cli.training.dead_start import DeadStartDetector
from alexnet_cli.training.device import prepare_for_updates, seed_dropout
from alexnet_cli.training.optimizer import (
    WeightAverage,
    all_finite,
    build_optimizer,
    load_tensors,
    optimizer_tensors,
    set_learning_rate,
)
from alexnet_cli.training.reporting import Reporter, TimedIterator
from alexnet_cli.training.schedule import crop_size_px, learning_rate, stops_early
from alexnet_cli.training.setup import TrainingRun, batch_settings

VAL_BATCH_SIZE = 500  # on each rank
LOG_EVERY = 20  # updates; the losses stay on the device until then, since reading one means waiting


class Trainer:
    """The training loop of one model: a network behind its input scaling.

    `eval_model`, which is validated, saved and exported, is the same, or with `--ema-decay` the
    one with the averaged weights.
    """

    def __init__(
        self,
        run: TrainingRun,
        reporters: Sequence[Reporter] = (),
        *,
        save_minutes: float = SAVE_MINUTES,
        save_steps: int = 0,
    ) -> None:
        config, spec = run.config, run.manifest.input
        self.run, self.reporters, self.state = run, reporters, TrainState()
        prepare_for_updates(run.device)
        network = build_network(run.manifest.network, seed=config.seed, init=config.init)
        if run.pretrained is not None:
            run.pretrained.copy_into(network, classes=run.manifest.classes)
        network = network.to(run.device).to(memory_format=torch.channels_last)
        if config.freeze is Freeze.FEATURES:
            network.get_submodule("features").requires_grad_(requires_grad=False)
        self.model = self.eval_model = PixelNetwork(network, spec).to(run.device)
        self._ddp: nn.Module = self.model  # wrapped while it trains on several ranks
        self.optimizer = build_optimizer(network, config)
        self._ema: WeightAverage | None = None
        if config.ema_decay:
            self._ema = WeightAverage(network, decay=config.ema_decay)
            self.eval_model = PixelNetwork(self._ema.network, spec).to(run.device)
        self.batches = make_batches(
            run.train,
            batch_settings(config, spec.image_size_px, run.colour_axes),
            device=run.device,
            num_workers=run.num_workers,
        )
        self._class_weights_K = run.class_weights()
        self._dead_start = DeadStartDetector(len(run.manifest.classes))
        self._checkpointer = AsyncCheckpointer(save_minutes, save_steps)
        self.folder_identity = folder_identity(run.folder.path)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint of the same configuration."""
        self.state = state = checkpoint.state
        # The momentum holds the learning rate of the last update: after an epoch, of that epoch.
        lr = self._learning_rate(state.step - 1) if state.batch else state.history[-1].learning_rate
        load_tensors(checkpoint, self.model.network, self.optimizer, self._ema, learning_rate=lr)

    def train(self) -> tuple[EpochRow, ...]:
        """Train to the last epoch, or stop early, and return the row of every epoch.

        Raises:
            Interrupted: A signal came; a checkpoint was saved.
            TrainingError: The loss is no longer finite.
            AlexnetError: A checkpoint cannot be written.
        """
        config = self.run.config
        self._checkpointer.restart_timer(self.state.step)
        self._ddp = self.run.ranks.wrap_ddp(self.model)
        for reporter in self.reporters:
            reporter.on_start(self.eval_model, self.state.history)
        try:
            with self.run.stop, self._checkpointer:
                while self.state.epoch < config.epochs and not self._stops_early:
                    self._train_epoch()
                    self._finish_epoch()
                if self._stops_early:
                    self._report_early_stop()
        finally:
            self._ddp = self.model  # DDP keeps the process group from being destroyed
        return self.state.history

    def _train_epoch(self) -> None:
        """Make the remaining updates of the current epoch."""
        ranks = self.run.ranks
        self._switch_to_train_mode()
        # This rank's sums over the epoch stay on the device; rank 0 has those of a resumed epoch.
        so_far = self.state if ranks.is_first else TrainState()
        loss_sum = torch.tensor(so_far.loss_sum, dtype=torch.float64, device=self.run.device)
        num_right = torch.tensor(so_far.num_right, dtype=torch.int64, device=self.run.device)
        batches = TimedIterator(self._epoch_batches())
        for batch in batches:
            batch_loss_sum, batch_num_right = self._update(batch)
            loss_sum += batch_loss_sum
            num_right += batch_num_right
            self.state = replace(self.state, step=self.state.step + 1, batch=self.state.batch + 1)
            self._report_step(batch, batch_loss_sum, batches.seconds)
            is_last = self.state.batch == self.batches.num_batches
            stop_signal, is_save_due = ranks.sync_stop_and_save(
                self.run.stop, save=not is_last and self._checkpointer.is_due(self.state.step)
            )
            if is_last or is_save_due or stop_signal or self.state.step % LOG_EVERY == 0:
                self._log(loss_sum, num_right, batches)
            if stop_signal:
                self._interrupt(stop_signal)
            if is_save_due:
                self._save()

    def _update(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Make one update with this rank's subset of a batch.

        Returns:
            On the device, for this rank: the sum of the losses, float64, and the number of images
            classified right, int64.
        """
        run, config = self.run, self.run.config
        # Of all ranks; the last batch of an epoch is smaller.
        num_images = min(config.batch_size, self.batches.num_images - self._images_done)
        loss_sum = torch.zeros((), dtype=torch.float64, device=run.device)
        num_right = torch.zeros((), dtype=torch.int64, device=run.device)

        set_learning_rate(self.optimizer, self._learning_rate(self.state.step))
        # Dropout depends on (seed, step, rank), not on the past: a resumed run draws the same.
        seed_dropout(run.device, run.ranks.dropout_seed(config.seed, self.state.step))
        self.optimizer.zero_grad(set_to_none=True)
        micro_batches = batch.split(config.micro_batch_size)
        for micro_batch in micro_batches:
            # Ranks exchange gradients once, in the backward pass of the last micro-batch.
            with run.ranks.no_sync(self._ddp, unless=micro_batch is micro_batches[-1]):
                logits_BK, loss = self._forward(micro_batch)
                labels_B = micro_batch.labels_B
                # DDP averages over ranks: with this weight, the result is the mean over the batch.
                weight = len(labels_B) * run.ranks.world_size / num_images
                (loss * weight).backward()  # type: ignore[no-untyped-call]
            loss_sum += loss.detach() * len(labels_B)
            num_right += (logits_BK.detach().argmax(dim=1)[: len(labels_B)] == labels_B).sum()
        self.optimizer.step()
        if self._ema is not None:
            self._ema.update(self.model.network)
        return loss_sum, num_right

    def _forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return logits (B, K) and the mean loss of a micro-batch."""
        images_BSSC, labels_B, colours_BC = batch
        if not len(labels_B):  # a rank without images joins in with one that has no weight
            images_BSSC = images_BSSC.new_zeros(1, *images_BSSC.shape[1:])
            labels_B, colours_BC = labels_B.new_zeros(1), None
        dtype = self.run.dtype
        with torch.autocast(self.run.device.type, dtype, enabled=dtype != torch.float32):
            logits_BK = self._ddp(images_BSSC, colours_BC)
        logits_BK = logits_BK.to(torch.promote_types(logits_BK.dtype, torch.float32))
        smoothing = self.run.config.label_smoothing
        if self._class_weights_K is None:
            return logits_BK, F.cross_entropy(logits_BK, labels_B, label_smoothing=smoothing)
        # Divided by the number of images, not by their weights as `F.cross_entropy(weight=…)`:
        # micro-batches and ranks then add up to the mean over the batch.
        losses_B = F.cross_entropy(logits_BK, labels_B, label_smoothing=smoothing, reduction="none")
        return logits_BK, (losses_B * self._class_weights_K[labels_B]).mean()

    def _learning_rate(self, step: int) -> float:
        return learning_rate(
            self.run.config,
            step=step,
            steps_per_epoch=self.batches.num_batches,
            val_top1=self._val_top1,
        )

    @property
    def _val_top1(self) -> list[float]:
        return [row.val_top1 for row in self.state.history]

    @property
    def _stops_early(self) -> bool:
        return stops_early(self.run.config, self._val_top1)

    def _epoch_batches(self) -> Iterator[Batch]:
        """Yield this rank's subset of the remaining batches of the current epoch."""
        final_px = self.run.manifest.input.crop_size_px
        yield from self.batches.epoch(
            self.state.epoch,
            crop_size_px=crop_size_px(self.run.config, final_px=final_px, epoch=self.state.epoch),
            first_batch=self.state.batch,
            rank=self.run.ranks.rank,
            world_size=self.run.ranks.world_size,
        )

    @property
    def _images_done(self) -> int:
        """Images of the current epoch that were trained on."""
        return min(self.state.batch * self.run.config.batch_size, self.batches.num_images)

    def _switch_to_train_mode(self) -> None:
        self.model.train()
        if self.run.config.freeze is Freeze.FEATURES:  # their batch statistics stay, too
            self.model.network.get_submodule("features").eval()

    def _report_step(self, batch: Batch, loss_sum: Tensor, seconds: float) -> None:
        warning = self._dead_start.check(self.model, batch, loss_sum, self.run.config)
        for reporter in self.reporters:
            if warning and self.run.ranks.is_first:
                reporter.warn(warning)
            if self._dead_start.num_updates == 1:
                reporter.log(f"first update after {seconds:.1f} s")
            reporter.on_step(self.state.epoch + 1, self._images_done, self.batches.num_images)

    def _log(self, loss_sum: Tensor, num_right: Tensor, batches: TimedIterator[Batch]) -> None:
        """Fetch this rank's sums over the epoch from the device and report the means."""
        total = float(self.run.ranks.total(loss_sum))  # waits for the device: so does the time
        if not math.isfinite(total):
            self._stop_diverged("loss is")
        self.state = replace(
            self.state,
            loss_sum=total,
            num_right=int(self.run.ranks.total(num_right)),
            train_seconds=self.state.train_seconds + batches.seconds,
            wait_seconds=self.state.wait_seconds + batches.wait_seconds,
        )
        batches.restart()
        for reporter in self.reporters:
            reporter.on_log(
                loss=total / self._images_done,
                top1=self.state.num_right / self._images_done,
                learning_rate=self._learning_rate(self.state.step - 1),
            )

    def _finish_epoch(self) -> None:
        """Validate, record the epoch, save."""
        begin = time.perf_counter()
        validation = self._validate()
        if not math.isfinite(validation.loss):  # the last update may have done the damage
            self._stop_diverged("loss is")
        state, num_images = self.state, self.batches.num_images
        row = EpochRow(
            epoch=state.epoch + 1,
            learning_rate=self._learning_rate(state.step - 1),  # of the epoch's last update
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
        for reporter in self.reporters:
            reporter.on_epoch(row, is_best=is_best)

    def _validate(self) -> Evaluation:
        run, classes = self.run, self.run.manifest.classes

        def stop_between_batches(_: int) -> None:
            stop_signal, _save = run.ranks.sync_stop_and_save(run.stop, save=False)
            if stop_signal:
                self._interrupt(stop_signal)

        model = torch_logits(self.eval_model, device=run.device, dtype=run.dtype)
        batch_size = min(VAL_BATCH_SIZE, run.config.micro_batch_size or VAL_BATCH_SIZE)
        probabilities_NK = predict_probabilities(
            run.ranks.shard_logits(model, num_classes=len(classes)),
            run.val,
            run.manifest,
            num_workers=run.num_workers,
            batch_size=batch_size * run.ranks.world_size,
            on_batch=stop_between_batches,
        )
        return summarise(probabilities_NK, run.val.labels_N, classes=classes)

    def _save(self) -> None:
        """Save a checkpoint in the background; refuse numbers that are not finite."""
        if not all_finite(self.model.network, self.optimizer):
            self._stop_diverged("weights are")
        if not self.run.ranks.is_first:
            return
        run, state = self.run, self.state
        run_files.require_same_folder(run.folder, self.folder_identity)
        provenance = replace(
            run.manifest.provenance,
            epoch=state.epoch,
            val_top1=state.history[-1].val_top1 if state.history else 0.0,
        )
        checkpoint = Checkpoint(
            folder=run.folder.checkpoints / f"step-{state.step}",
            state=state,
            config=run.config.model_dump(mode="json"),
            environment=run.environment,
            manifest=replace(run.manifest, provenance=provenance),
            colour_axes=run.colour_axes,
        )
        others = optimizer_tensors(
            self.model.network, self.optimizer, has_ema=self._ema is not None
        )
        self._checkpointer.save(
            checkpoint,
            model=to_safetensors(self.eval_model.network.state_dict()),
            optimizer=to_safetensors(others),
            write_metrics=partial(
                run_files.write_metrics, run.folder, run.config, state.history, run.identical
            ),
        )

    def _report_early_stop(self) -> None:
        config = self.run.config
        for reporter in self.reporters:
            reporter.log(
                f"stopped early, after epoch {self.state.epoch} of {config.epochs}: no better val "
                f"acc in {config.stop_after} epochs; continue with: "
                f"{self.run.folder.resume_command} --stop-after 0"
            )

    def _interrupt(self, signal_number: int) -> NoReturn:
        self._save()
        self._checkpointer.wait()
        self.run.ranks.wait()  # the launcher ends all ranks when one has ended
        number = signal.Signals(signal_number)
        cause = "Ctrl-C" if number is signal.SIGINT else number.name
        raise Interrupted(
            f"interrupted ({cause}) in epoch {self.state.epoch + 1}; "
            f"progress saved at step {self.state.step}",
            signal_number=signal_number,
            hint=f"resume with: {self.run.folder.resume_command}",
        )

    def _stop_diverged(self, subject: str) -> NoReturn:
        if self.run.ranks.is_first:
            self._checkpointer.wait()
        steps = saved_steps(self.run.folder.checkpoints)
        saved = f"the last checkpoint is of step {steps[0]}" if steps else "nothing was saved"
        command = f"{self.run.folder.resume_command} --allow-drift" if steps else "alexnet train"
        raise TrainingError(
            f"the {subject} no longer finite at step {self.state.step}, in epoch "
            f"{self.state.epoch + 1}; {saved}",
            hint="use a smaller learning rate: "
            f"{command} --learning-rate {self.run.config.learning_rate / 10:g}",
            code="not_finite",
        )
