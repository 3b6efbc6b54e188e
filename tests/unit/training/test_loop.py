import copy
import dataclasses
import hashlib
import signal
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from alexnet_cli.config.schema import MomentumKind, Precision, Schedule, TrainConfig
from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.errors import Interrupted, TrainingError
from alexnet_cli.runs import RunFolder
from alexnet_cli.training.checkpoint import MODEL_FILE, OPTIMIZER_FILE
from alexnet_cli.training.loop import LOG_EVERY, Trainer
from alexnet_cli.training.ranks import StopRequest
from alexnet_cli.training.reporting import Reporter, TimedIterator
from alexnet_cli.training.saving import SaveInterval, best_checkpoint, newest_checkpoint
from alexnet_cli.training.setup import TrainingRun

STEPS_PER_EPOCH = 3  # 44 images in batches of 16, 16 and 12
CONFIG = TrainConfig(
    data="shapes",
    epochs=3,
    batch_size=16,
    learning_rate=0.01,
    schedule=Schedule.PLATEAU,
    patience=1,
    pad=1,
    val_size=20,
    seed=5,
    precision=Precision.FP32,
)


def draw(num_images, *, seed, is_right=True):
    """Noise; a brighter channel tells the class, or the one before it."""
    generator = np.random.default_rng(seed)
    classes = np.arange(num_images) % 4
    images = generator.integers(0, 156, (num_images, 12, 12, 3))
    for channel in range(3):
        images[classes == channel, :, :, channel] += 100
    labels = classes if is_right else (classes + 1) % 4
    return ImageArrays(images.astype(np.uint8), labels.astype(np.int64))


class Keeper(Reporter):
    """Keeps what it is told; asks the job to stop after some steps."""

    def __init__(self, stop=None, *, after_steps=None):
        self.stop, self.after_steps = stop, after_steps
        self.steps, self.rows, self.notes, self.warnings = [], [], [], []

    def log(self, text):
        self.notes.append(text)

    def warn(self, text):
        self.warnings.append(text)

    def on_step(self, epoch, images_done, images_total):
        self.steps.append((epoch, images_done, images_total))
        if len(self.steps) == self.after_steps:
            self.stop.signal_number = signal.SIGTERM

    def on_epoch(self, row, *, is_best):
        self.rows.append((row, is_best))


@pytest.fixture
def make_job(tmp_path, manifest):
    def make(name="run", *, num_images=44, val_is_right=True, colour_axes=None, **changes):
        axes = draw(num_images, seed=0).colour_statistics().noise_axes(0.1)
        axes = axes if colour_axes is None else colour_axes
        run = RunFolder(tmp_path / name)
        run.path.mkdir()
        return TrainingRun(
            config=CONFIG.model_copy(update=changes),
            manifest=manifest,
            train=draw(num_images, seed=0),
            colour_axes=axes,
            val=draw(20, seed=1, is_right=val_is_right),
            folder=run,
            device=torch.device("cpu"),
            dtype=torch.float32,
        )

    return make


def with_interval(job, interval):
    options = dataclasses.replace(job.options, save_interval=interval)
    return dataclasses.replace(job, options=options)


def fingerprint(run):
    checkpoint = newest_checkpoint(run.checkpoints)
    files = [(checkpoint.folder / name).read_bytes() for name in (MODEL_FILE, OPTIMIZER_FILE)]
    rows = [
        (r.epoch, r.learning_rate, r.train_loss, r.train_top1, r.val_loss, r.val_top1)
        for r in checkpoint.state.history
    ]
    return [hashlib.sha256(content).hexdigest() for content in files], rows


def stop_and_resume(job, after_steps):
    """Stop after each number of steps in turn, each time with a new trainer, then finish."""
    checkpoint = None
    for steps in (*after_steps, None):
        job = dataclasses.replace(job, stop=StopRequest())
        trainer = Trainer(job, [Keeper(job.stop, after_steps=steps)])
        if checkpoint is not None:
            trainer.resume(checkpoint)
        if steps is None:
            trainer.train()
            return
        with pytest.raises(Interrupted) as caught:
            trainer.train()
        assert caught.value.exit_code == 128 + signal.SIGTERM
        checkpoint = newest_checkpoint(job.folder.checkpoints)


def test_an_update_is_that_of_plain_pytorch(make_job):
    trainer = Trainer(make_job(colour_axes=()))
    trainer._switch_to_train_mode()
    reference = copy.deepcopy(trainer.model)
    optimizer = torch.optim.SGD(reference.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
    for step, batch in enumerate(trainer._epoch_batches()):
        torch.manual_seed((CONFIG.seed << 32) + step)  # of the dropout
        logits = reference(batch.images_BSSC, batch.colours_BC)
        loss = F.cross_entropy(logits, batch.labels_B)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss_sum, num_right = trainer._update(batch)
        trainer.state = dataclasses.replace(trainer.state, step=step + 1, batch=step + 1)
        assert loss_sum / len(logits) == pytest.approx(loss.item(), rel=1e-6)
        assert num_right == (logits.argmax(1) == batch.labels_B).sum()
    for ours, theirs in zip(trainer.model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_the_time_between_items_is_measured():
    def slow():
        for item in "ab":
            time.sleep(0.02)
            yield item

    begin = time.perf_counter()
    items = TimedIterator(slow())
    assert list(items) == ["a", "b"]
    assert 0.04 <= items.wait_seconds <= time.perf_counter() - begin


def test_the_loss_falls_and_the_classes_are_learned(make_job):
    job = make_job(epochs=8, schedule=Schedule.LINEAR, learning_rate=0.02)
    reporter = Keeper()
    best = max(Trainer(job, [reporter]).train(), key=lambda row: row.val_top1)
    rows = [row for row, _ in reporter.rows]
    assert rows[0].train_loss > 1.2  # ln 4 is 1.39
    assert rows[-1].train_loss < 0.5 * rows[0].train_loss
    assert best.val_top1 > 0.75
    assert [note.rpartition(" after ")[0] for note in reporter.notes] == ["first update"]
    assert reporter.steps[:4] == [(1, 16, 44), (1, 32, 44), (1, 44, 44), (2, 16, 44)]


@pytest.fixture(scope="module")
def uninterrupted():
    return {}


@pytest.mark.parametrize("after_steps", [(1,), (STEPS_PER_EPOCH,), (5,), (8,), (2, 3, 2)], ids=str)
def test_a_stopped_and_resumed_run_ends_in_the_same_bytes(make_job, uninterrupted, after_steps):
    if not uninterrupted:
        job = make_job("whole")
        Trainer(job, [Keeper()]).train()
        uninterrupted["fingerprint"] = fingerprint(job.folder)
    job = make_job()
    torch.manual_seed(sum(after_steps))  # the generator's state before a run is of no account
    stop_and_resume(job, after_steps)
    assert fingerprint(job.folder) == uninterrupted["fingerprint"]


@pytest.mark.parametrize("kind", MomentumKind)
def test_a_falling_rate_resumes_to_the_same_bytes(make_job, kind):
    falling = {"schedule": Schedule.LINEAR, "momentum_kind": kind, "bias_rate_factor": 2.0}
    whole, stopped = make_job("whole", **falling), make_job("stopped", **falling)
    Trainer(whole, [Keeper()]).train()
    stop_and_resume(stopped, (2, 3, 1))
    assert fingerprint(stopped.folder) == fingerprint(whole.folder)


def test_the_fast_recipes_settings_resume_to_the_same_bytes(make_job):
    fast = {
        "momentum_kind": MomentumKind.NESTEROV,
        "muon_rate": 0.02,
        "warmup_epochs": 0.5,
        "label_smoothing": 0.1,
        "early_crop_size": 9,
        "schedule": Schedule.LINEAR,
    }
    whole, stopped = make_job("whole", **fast), make_job("stopped", **fast)
    Trainer(whole, [Keeper()]).train()
    stop_and_resume(stopped, (2, 3, 1))
    assert fingerprint(stopped.folder) == fingerprint(whole.folder)
    plain = make_job("plain", **{**fast, "label_smoothing": 0.0})
    Trainer(plain, [Keeper()]).train()
    assert fingerprint(plain.folder)[0] != fingerprint(whole.folder)[0]


def test_another_seed_ends_in_other_bytes(make_job):
    found = []
    for seed in (5, 6):
        job = make_job(str(seed), seed=seed, epochs=1)
        Trainer(job, [Keeper()]).train()
        found.append(fingerprint(job.folder)[0])
    assert found[0] != found[1]


def test_a_loss_that_is_no_number_stops_the_run_and_is_not_saved(make_job):
    job = make_job(learning_rate=100.0)
    reporter = Keeper()
    with pytest.raises(TrainingError, match="finite") as caught:
        Trainer(job, [reporter]).train()
    assert "--learning-rate 10" in caught.value.hint
    assert not reporter.rows
    assert not list(job.folder.path.rglob("*.safetensors"))


def test_weights_ruined_by_the_last_update_of_an_epoch_are_not_saved(make_job):
    job = make_job(epochs=1, batch_size=22, learning_rate=100.0)
    with pytest.raises(TrainingError, match="finite"):
        Trainer(job, [Keeper()]).train()
    assert list(job.folder.path.rglob("*.safetensors")) == []


def test_weights_ruined_by_an_update_inside_an_epoch_are_not_saved(make_job):
    job = make_job(learning_rate=1e39)  # more than a float32 holds; the loss before is finite
    job = with_interval(job, SaveInterval(minutes=0, steps=1))
    with pytest.raises(TrainingError, match="weights are no longer finite at step 1"):
        Trainer(job, [Keeper()]).train()
    assert list(job.folder.path.rglob("*.safetensors")) == []


def test_a_stop_in_the_validation_does_not_wait_for_its_end(make_job):
    job, num_read = make_job(), []

    class Asks(ImageArrays):
        """Larger images than the network's, so that they are read batch by batch."""

        def load_images(self, size_px):
            job.stop.signal_number = signal.SIGTERM
            num_read.append(len(self))
            return super().load_images(size_px)

    many = draw(3_000, seed=1)
    val = Asks(many.images_NHWC.repeat(2, axis=1).repeat(2, axis=2), many.labels_N)
    job = dataclasses.replace(job, val=val)
    with pytest.raises(Interrupted):
        Trainer(job, [Keeper()]).train()
    state = newest_checkpoint(job.folder.checkpoints).state
    assert (state.epoch, state.batch) == (0, STEPS_PER_EPOCH)
    assert sum(num_read) < 3_000


def test_best_step_is_the_best_validation_epoch(make_job):
    job = make_job(epochs=5, val_is_right=False, schedule=Schedule.LINEAR, learning_rate=0.03)
    reporter = Keeper()
    returned = Trainer(job, [reporter]).train()
    state = newest_checkpoint(job.folder.checkpoints).state
    top1 = [row.val_top1 for row in state.history]
    best = int(np.argmax(top1))  # the first of equals
    assert len(set(top1)) > 1
    assert best != 4  # the more it learns the truth, the worse it does on these labels
    assert state.best_step == STEPS_PER_EPOCH * (best + 1)
    assert returned == state.history
    running = [max([-1.0, *top1[:i]]) for i in range(5)]
    assert [b for _, b in reporter.rows] == [t > r for t, r in zip(top1, running, strict=True)]
    saved = best_checkpoint(job.folder.checkpoints)
    assert saved.state.step == state.best_step
    assert saved.manifest.provenance.epoch == best + 1
    assert saved.manifest.provenance.val_top1 == top1[best]


def test_resuming_behind_a_damaged_checkpoint_can_be_stopped_again(make_job):
    job = make_job()
    with pytest.raises(Interrupted):
        Trainer(job, [Keeper(job.stop, after_steps=6)]).train()
    (job.folder.checkpoints / "step-6" / MODEL_FILE).write_bytes(b"")
    job = dataclasses.replace(job, stop=StopRequest())
    trainer = Trainer(job, [Keeper(job.stop, after_steps=1)])
    trainer.resume(newest_checkpoint(job.folder.checkpoints))
    with pytest.raises(Interrupted):
        trainer.train()
    assert newest_checkpoint(job.folder.checkpoints).state.step == 4


def test_a_run_that_dies_goes_on_from_inside_an_epoch_to_the_same_bytes(make_job):
    class Dies(Reporter):
        def on_step(self, epoch, images_done, images_total):
            if epoch == 2 and images_done == images_total:
                raise KeyboardInterrupt  # nothing is saved on this way out

    interval = SaveInterval(minutes=0, steps=1)
    whole, dying = make_job("whole", ema_decay=0.9), make_job("dying", ema_decay=0.9)
    Trainer(whole, [Keeper()]).train()
    dying = with_interval(dying, interval)
    with pytest.raises(KeyboardInterrupt):
        Trainer(dying, [Dies()]).train()
    found = newest_checkpoint(dying.folder.checkpoints)
    assert (found.state.epoch, found.state.batch) == (1, 2)
    trainer = Trainer(dataclasses.replace(dying, stop=StopRequest()), [Keeper()])
    trainer.resume(found)
    trainer.train()
    assert fingerprint(dying.folder) == fingerprint(whole.folder)


def test_what_is_validated_and_kept_is_the_average_of_the_weights(make_job):
    job = make_job(epochs=1, ema_decay=0.75, momentum=0.0, weight_decay=0.0)
    trainer = Trainer(job, [Keeper()])
    seen = []

    class Watches(Keeper):
        def on_step(self, *counts):
            super().on_step(*counts)
            seen.append({k: v.clone() for k, v in trainer.network.state_dict().items()})

    trainer.reporters = [Watches()]
    trainer.train()
    checkpoint = newest_checkpoint(job.folder.checkpoints)
    saved = checkpoint.read_tensors(MODEL_FILE)
    trained = checkpoint.read_tensors(OPTIMIZER_FILE)
    for name, value in saved.items():
        expected = seen[0][name]  # the average begins with the weights after the first update
        for each in seen[1:]:
            expected = 0.75 * expected + 0.25 * each[name]
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-7)
        assert torch.equal(trained[f"trained.{name}"], seen[-1][name])
    assert trainer.eval_model is not trainer.model


def test_a_loss_that_is_no_number_is_noticed_before_the_epoch_ends(make_job):
    job = make_job(num_images=1_000, batch_size=4, learning_rate=100.0)  # 250 updates
    reporter = Keeper()
    with pytest.raises(TrainingError, match="finite at step"):
        Trainer(job, [reporter]).train()
    assert len(reporter.steps) <= LOG_EVERY


def test_a_run_that_diverges_keeps_its_last_sound_checkpoint(make_job):
    job = make_job()
    with pytest.raises(Interrupted):
        Trainer(job, [Keeper(job.stop, after_steps=4)]).train()
    wild = CONFIG.model_copy(update={"learning_rate": 1e3})
    job = dataclasses.replace(job, config=wild, stop=StopRequest())
    job = with_interval(job, SaveInterval(minutes=0, steps=1))
    trainer = Trainer(job, [Keeper()])
    trainer.resume(newest_checkpoint(job.folder.checkpoints))
    with pytest.raises(TrainingError, match="the last checkpoint is of step") as caught:
        trainer.train()
    assert "--allow-drift --learning-rate 100" in caught.value.hint
    found = newest_checkpoint(job.folder.checkpoints)
    for name in (MODEL_FILE, OPTIMIZER_FILE):
        assert all(bool(t.isfinite().all()) for t in found.read_tensors(name).values())
    assert found.state.step >= 4
