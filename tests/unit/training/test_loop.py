import copy
import dataclasses
import hashlib
import signal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight

from alexnet_cli.config.schema import ClassWeights, MomentumKind, Schedule
from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.errors import Interrupted, TrainingError
from alexnet_cli.training.checkpoint import (
    MODEL_FILE,
    OPTIMIZER_FILE,
    best_checkpoint,
    newest_checkpoint,
)
from alexnet_cli.training.loop import LOG_EVERY, Trainer
from alexnet_cli.training.ranks import StopRequest
from alexnet_cli.training.reporting import Reporter
from tests.unit.training.conftest import CONFIG, draw

STEPS_PER_EPOCH = 3  # 44 images in batches of 16, 16 and 12
EACH_STEP = {"save_minutes": 0, "save_steps": 1}


class Keeper(Reporter):
    """Keeps the events; asks the run to stop after some steps."""

    def __init__(self, stop=None, *, after_steps=None):
        self.stop, self.after_steps = stop, after_steps
        self.steps, self.rows, self.notes = [], [], []

    def log(self, text):
        self.notes.append(text)

    def on_step(self, epoch, images_done, images_total):
        self.steps.append((epoch, images_done, images_total))
        if len(self.steps) == self.after_steps:
            self.stop.signal_number = signal.SIGTERM

    def on_epoch(self, row, *, is_best):
        self.rows.append((row, is_best))


def fingerprint(run):
    checkpoint = newest_checkpoint(run.folder.checkpoints)
    files = [(checkpoint.folder / name).read_bytes() for name in (MODEL_FILE, OPTIMIZER_FILE)]
    rows = [
        (r.epoch, r.learning_rate, r.train_loss, r.train_top1, r.val_loss, r.val_top1)
        for r in checkpoint.state.history
    ]
    return [hashlib.sha256(content).hexdigest() for content in files], rows


def resumed(run, *, after_steps=None, **saves):
    """Return a new trainer that continues from the newest checkpoint."""
    run = dataclasses.replace(run, stop=StopRequest())
    trainer = Trainer(run, [Keeper(run.stop, after_steps=after_steps)], **saves)
    trainer.resume(newest_checkpoint(run.folder.checkpoints))
    return trainer


def stop_and_resume(run, after_steps):
    """Stop after each number of steps in turn, each time with a new trainer, then finish."""
    trainer = Trainer(run, [Keeper(run.stop, after_steps=after_steps[0])])
    for steps in (*after_steps[1:], None):
        with pytest.raises(Interrupted) as caught:
            trainer.train()
        assert caught.value.exit_code == 128 + signal.SIGTERM
        trainer = resumed(run, after_steps=steps)
    trainer.train()


def test_an_update_is_that_of_plain_pytorch(make_run):
    trainer = Trainer(make_run(colour_axes=()))
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


def test_accumulated_gradients_are_those_of_the_whole_batch(make_run):
    weights = {}
    for size in (0, 3, 16):
        trainer = Trainer(
            make_run(str(size), micro_batch_size=size, dropout=0.0, label_smoothing=0.1, epochs=2)
        )
        trainer.model.double()
        history = trainer.train()
        weights[size] = torch.cat(
            [p.detach().flatten() for p in trainer.model.network.parameters()]
        )
        assert history[-1].train_loss > 0
    assert torch.equal(weights[0], weights[16])
    assert (weights[0] - weights[3]).abs().max() <= 1e-12
    assert not torch.equal(weights[0], weights[3]), "the small batches were not used"


@pytest.mark.parametrize("micro_batch_size", [0, 3])
def test_balanced_classes_have_the_weights_of_scikit_learn(make_run, micro_batch_size):
    run = make_run(
        num_images=100, colour_axes=(), dropout=0.0, batch_size=43,
        class_weights=ClassWeights.BALANCED, micro_batch_size=micro_batch_size,
    )  # fmt: skip
    unbalanced = [index for index in range(100) if index % 4 == 0 or index < 24]  # 25, 6, 6, 6
    run = dataclasses.replace(run, train=run.train.take(np.array(unbalanced)))
    trainer = Trainer(run)
    trainer.model.double()
    reference = copy.deepcopy(trainer.model)
    (batch,) = trainer._epoch_batches()
    labels = run.train.labels_N
    weights = torch.from_numpy(
        compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    )
    logits = reference(batch.images_BSSC, None)
    loss = F.cross_entropy(logits, batch.labels_B, weight=weights, reduction="sum") / len(logits)
    loss.backward()
    loss_sum, _ = trainer._update(batch)
    assert float(loss_sum) / len(logits) == pytest.approx(loss.item())
    for ours, theirs in zip(trainer.model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-7)


def test_the_loss_falls_and_the_classes_are_learned(make_run):
    run, reporter = make_run(epochs=8, schedule=Schedule.LINEAR, learning_rate=0.02), Keeper()
    best = max(Trainer(run, [reporter]).train(), key=lambda row: row.val_top1)
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
def test_a_stopped_and_resumed_run_ends_in_the_same_bytes(make_run, uninterrupted, after_steps):
    if not uninterrupted:
        run = make_run("whole")
        Trainer(run).train()
        uninterrupted["fingerprint"] = fingerprint(run)
    run = make_run()
    torch.manual_seed(sum(after_steps))  # the generator's state before a run is of no account
    stop_and_resume(run, after_steps)
    assert fingerprint(run) == uninterrupted["fingerprint"]


_FAST = {
    "momentum_kind": MomentumKind.NESTEROV, "muon_rate": 0.02, "warmup_epochs": 0.5,
    "label_smoothing": 0.1, "early_crop_size": 9,
}  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [
        {"schedule": Schedule.COSINE, "warmup_epochs": 0.5},
        _FAST,
        *(
            pytest.param({"momentum_kind": kind, "bias_rate_factor": 2.0}, marks=pytest.mark.slow)
            for kind in (MomentumKind.CLASSICAL, MomentumKind.NESTEROV)
        ),
    ],
    ids=["cosine", "fast", "classical", "nesterov"],
)
def test_with_a_falling_learning_rate_too(make_run, settings):
    settings = {"schedule": Schedule.LINEAR, **settings}
    runs = [make_run(name, **settings) for name in ("whole", "stopped")]
    Trainer(runs[0]).train()
    stop_and_resume(runs[1], (2, 3, 1))
    assert fingerprint(runs[1]) == fingerprint(runs[0])


@pytest.mark.parametrize("change", [{"seed": 6}, {"label_smoothing": 0.1}], ids=str)
def test_other_settings_end_in_other_bytes(make_run, change):
    runs = [make_run("first", epochs=1), make_run("second", epochs=1, **change)]
    for run in runs:
        Trainer(run).train()
    assert fingerprint(runs[0])[0] != fingerprint(runs[1])[0]


@pytest.mark.parametrize(
    ("settings", "saves", "message"),
    [
        ({"learning_rate": 100.0}, {}, "finite"),
        # by the last update of an epoch
        ({"learning_rate": 100.0, "epochs": 1, "batch_size": 22}, {}, "finite"),
        # more than a float32 holds, inside an epoch; the loss before is finite
        ({"learning_rate": 1e39}, EACH_STEP, "weights are no longer finite at step 1"),
    ],
    ids=["loss", "last update", "weights"],
)
def test_a_run_that_diverges_is_stopped_and_not_saved(make_run, settings, saves, message):
    run, reporter = make_run(**settings), Keeper()
    with pytest.raises(TrainingError, match=message) as caught:
        Trainer(run, [reporter], **saves).train()
    assert f"--learning-rate {settings['learning_rate'] / 10:g}" in caught.value.hint
    assert not reporter.rows
    assert not list(run.folder.path.rglob("*.safetensors"))


def test_divergence_is_noticed_before_the_epoch_ends(make_run):
    run = make_run(num_images=1_000, batch_size=4, learning_rate=100.0)  # 250 updates
    reporter = Keeper()
    with pytest.raises(TrainingError, match="finite at step"):
        Trainer(run, [reporter]).train()
    assert len(reporter.steps) <= LOG_EVERY


def test_a_run_that_diverges_keeps_its_last_sound_checkpoint(make_run):
    run = make_run()
    with pytest.raises(Interrupted):
        Trainer(run, [Keeper(run.stop, after_steps=4)], **EACH_STEP).train()
    wild = CONFIG.model_copy(update={"learning_rate": 1e3})
    with pytest.raises(TrainingError, match="the last checkpoint is of step") as caught:
        resumed(dataclasses.replace(run, config=wild), **EACH_STEP).train()
    assert "--allow-drift --learning-rate 100" in caught.value.hint
    found = newest_checkpoint(run.folder.checkpoints)
    for name in (MODEL_FILE, OPTIMIZER_FILE):
        assert all(bool(t.isfinite().all()) for t in found.read_tensors(name).values())
    assert found.state.step >= 4


def test_a_stop_in_the_validation_does_not_wait_for_its_end(make_run):
    run, num_read = make_run(), []

    class Asks(ImageArrays):
        """Larger images than the network's, so that they are read batch by batch."""

        def load_images(self, size_px):
            run.stop.signal_number = signal.SIGTERM
            num_read.append(len(self))
            return super().load_images(size_px)

    many = draw(3_000, seed=1)
    val = Asks(many.images_NHWC.repeat(2, axis=1).repeat(2, axis=2), many.labels_N)
    with pytest.raises(Interrupted):
        Trainer(dataclasses.replace(run, val=val)).train()
    state = newest_checkpoint(run.folder.checkpoints).state
    assert (state.epoch, state.batch) == (0, STEPS_PER_EPOCH)
    assert sum(num_read) < 3_000


def test_the_best_step_is_that_of_the_best_validation(make_run):
    run = make_run(epochs=5, val_is_right=False, schedule=Schedule.LINEAR)
    reporter = Keeper()
    returned = Trainer(run, [reporter]).train()
    state = newest_checkpoint(run.folder.checkpoints).state
    top1 = [row.val_top1 for row in state.history]
    best = int(np.argmax(top1))  # the first of equals
    assert len(set(top1)) > 1
    assert best != 4  # the more it learns the truth, the worse it does on these labels
    assert state.best_step == STEPS_PER_EPOCH * (best + 1)
    assert returned == state.history
    running = [max([-1.0, *top1[:i]]) for i in range(5)]
    assert [b for _, b in reporter.rows] == [t > r for t, r in zip(top1, running, strict=True)]
    saved = best_checkpoint(run.folder.checkpoints)
    assert saved.state.step == state.best_step
    assert saved.manifest.provenance.epoch == best + 1
    assert saved.manifest.provenance.val_top1 == top1[best]


def test_a_run_stops_early_at_the_same_epoch_when_it_is_resumed(make_run):
    settings = {"epochs": 9, "stop_after": 2, "val_is_right": False}
    whole, stopped = make_run("whole", **settings), make_run("stopped", **settings)
    top1 = [row.val_top1 for row in Trainer(whole).train()]
    assert len(top1) < 9
    assert top1.index(max(top1)) == len(top1) - 3
    stop_and_resume(stopped, (STEPS_PER_EPOCH + 1,))
    assert fingerprint(stopped) == fingerprint(whole)
    assert len(resumed(stopped).train()) == len(top1)  # it is over


def test_a_run_resumed_from_before_a_damaged_checkpoint_can_be_stopped_again(make_run):
    run = make_run()
    with pytest.raises(Interrupted):
        Trainer(run, [Keeper(run.stop, after_steps=6)]).train()
    (run.folder.checkpoints / "step-6" / MODEL_FILE).write_bytes(b"")
    with pytest.raises(Interrupted):
        resumed(run, after_steps=1).train()
    assert newest_checkpoint(run.folder.checkpoints).state.step == 4


def test_a_run_that_dies_inside_an_epoch_resumes_to_the_same_bytes(make_run):
    class Dies(Reporter):
        def on_step(self, epoch, images_done, images_total):
            if epoch == 2 and images_done == images_total:
                raise KeyboardInterrupt  # nothing is saved on this way out

    whole, dying = make_run("whole", ema_decay=0.9), make_run("dying", ema_decay=0.9)
    Trainer(whole).train()
    with pytest.raises(KeyboardInterrupt):
        Trainer(dying, [Dies()], **EACH_STEP).train()
    state = newest_checkpoint(dying.folder.checkpoints).state
    assert (state.epoch, state.batch) == (1, 2)
    resumed(dying).train()
    assert fingerprint(dying) == fingerprint(whole)


def test_the_average_of_the_weights_is_validated_and_saved(make_run):
    run = make_run(epochs=1, ema_decay=0.75, momentum=0.0, weight_decay=0.0)
    trainer = Trainer(run)
    seen = []

    class Watches(Reporter):
        def on_step(self, *_counts):
            seen.append({k: v.clone() for k, v in trainer.model.network.state_dict().items()})

    trainer.reporters = [Watches()]
    trainer.train()
    checkpoint = newest_checkpoint(run.folder.checkpoints)
    saved = checkpoint.read_tensors(MODEL_FILE)
    trained = checkpoint.read_tensors(OPTIMIZER_FILE)
    for name, value in saved.items():
        expected = seen[0][name]  # the average begins with the weights after the first update
        for each in seen[1:]:
            expected = 0.75 * expected + 0.25 * each[name]
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-7)
        assert torch.equal(trained[f"trained.{name}"], seen[-1][name])
    assert trainer.eval_model is not trainer.model
