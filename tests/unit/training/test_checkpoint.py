import dataclasses
import json
import shutil
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.errors import AlexnetError, CheckpointError, ModelFileError
from alexnet_cli.run_folder import RunFolder
from alexnet_cli.training.checkpoint import (
    MODEL_FILE,
    OPTIMIZER_FILE,
    STATE_FILE,
    AsyncCheckpointer,
    best_checkpoint,
    newest_checkpoint,
    prune_checkpoints,
    read_checkpoint,
    saved_steps,
    set_aside_later,
    write_checkpoint,
)
from tests.unit.training.conftest import CONFIG, HISTORY


def test_what_is_written_is_read(save, make_checkpoint):
    path, (written, _) = save(12, best_step=9), make_checkpoint(12, best_step=9)
    found = read_checkpoint(path)
    assert path.name == "step-12"
    assert found == written
    assert TrainConfig(**found.config) == CONFIG
    generator = torch.Generator().manual_seed(12)
    for file in (MODEL_FILE, OPTIMIZER_FILE):
        expected = torch.randn(4, 3, generator=generator)
        assert torch.equal(found.read_tensors(file)["weight"], expected)
    document = json.loads((path / STATE_FILE).read_text())
    assert document["state"]["history"][1] == dataclasses.asdict(HISTORY[1])


def test_a_flipped_bit_is_noticed_wherever_it_is(save, damage):
    path = save(3)
    files = [path / name for name in (MODEL_FILE, OPTIMIZER_FILE, STATE_FILE)]
    places = [(file, offset) for file in files for offset in range(file.stat().st_size)]
    generator = np.random.default_rng(1)
    unnoticed = []
    for index in generator.choice(len(places), size=400, replace=False):
        (file, offset), content = places[index], places[index][0].read_bytes()
        damage(file, offset, bit=int(generator.integers(8)))
        try:
            read_checkpoint(path)
        except (CheckpointError, ModelFileError):
            continue
        finally:
            file.write_bytes(content)
        unnoticed.append((file.name, content[offset - 12 : offset + 12]))
    assert not unnoticed
    assert read_checkpoint(path).state.step == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"step": -1},
        {"step": True},
        {"batch": 1.0},
        {"loss_sum": "0.3"},
        {"epoch": 3},
        {"best_step": 4},
        {"history": HISTORY[::-1]},
        {"history": (dataclasses.replace(HISTORY[0], val_top1=1.5), HISTORY[1])},
        {"history": (HISTORY[0], dataclasses.replace(HISTORY[1], train_seconds=0.0))},
        {"history": (HISTORY[0], dataclasses.replace(HISTORY[1], val_loss=float("nan")))},
        {"epoch": 0, "batch": 0, "history": ()},
    ],
    ids=str,
)
def test_impossible_values_are_noticed_though_the_checksum_is_right(make_checkpoint, changes):
    checkpoint, tensors = make_checkpoint(3)
    state = dataclasses.replace(checkpoint.state, **changes)
    write_checkpoint(dataclasses.replace(checkpoint, state=state), **tensors)
    with pytest.raises(CheckpointError, match=STATE_FILE):
        read_checkpoint(checkpoint.folder)


def test_a_renamed_checkpoint_does_not_count(save, checkpoints):
    save(3)
    shutil.copytree(save(2), checkpoints / "step-9")
    warnings = []
    assert newest_checkpoint(checkpoints, warn=warnings.append).state.step == 3
    assert "it is of step 2" in warnings[0]
    assert read_checkpoint(checkpoints / "step-9").state.step == 2  # as a copy it can be used


def test_valid_checkpoints_after_a_step_are_set_aside(save, checkpoints):
    run = RunFolder(checkpoints.parent)
    for step in (1, 2, 3, 4):
        save(step)
    (checkpoints / "step-4" / MODEL_FILE).unlink()
    assert set_aside_later(run, 2) == [run.set_aside / "step-3"]
    assert (saved_steps(checkpoints), saved_steps(run.set_aside)) == ([4, 2, 1], [3])
    save(3)
    assert set_aside_later(run, 1) == [run.set_aside / name for name in ("step-3-2", "step-2")]
    assert set_aside_later(run, 1) == []


@pytest.mark.parametrize("file", [MODEL_FILE, OPTIMIZER_FILE, STATE_FILE])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_file_cut_short_is_noticed(save, file, share):
    path = save(3)
    content = (path / file).read_bytes()
    (path / file).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=file) as caught:
        read_checkpoint(path)
    assert caught.value.code == "checkpoint_corrupt"


@pytest.mark.parametrize(
    ("file", "code"),
    [
        (MODEL_FILE, "checkpoint_corrupt"),
        (OPTIMIZER_FILE, "checkpoint_corrupt"),
        (STATE_FILE, "checkpoint_missing"),
    ],
)
def test_a_missing_file_is_noticed(save, file, code):
    path = save(3)
    (path / file).unlink()
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert caught.value.code == code


def test_weights_of_another_layout_are_refused(save):
    checkpoint = read_checkpoint(save(1))
    with pytest.raises(CheckpointError, match="does not fit") as caught:
        checkpoint.load_model(nn.Linear(5, 4, bias=False))
    assert caught.value.code == "checkpoint_mismatch"
    fitting = nn.Linear(3, 4, bias=False)
    checkpoint.load_model(fitting)
    assert torch.equal(fitting.weight, checkpoint.read_tensors(MODEL_FILE)["weight"])


def test_a_damaged_newest_is_passed_over_with_a_warning(save, checkpoints, damage):
    for step in (9, 10, 99, 100):  # 100 is newest by number, not by name
        save(step)
    assert newest_checkpoint(checkpoints).state.step == 100
    (checkpoints / "step-100" / STATE_FILE).unlink()
    damage(checkpoints / "step-99" / MODEL_FILE, -1)
    path = checkpoints / "step-10" / STATE_FILE
    document = json.loads(path.read_text())
    document["manifest"]["network"]["name"] = "alexnet-cifas"
    path.write_text(json.dumps(document))
    warnings = []
    assert newest_checkpoint(checkpoints, warn=warnings.append).state.step == 9
    steps = ["step-100", "step-99", "step-10"]
    assert all(step in text for step, text in zip(steps, warnings, strict=True))


def test_without_a_valid_checkpoint_the_damage_of_the_newest_is_named(save, checkpoints, damage):
    damage(save(2) / MODEL_FILE, -1)
    (save(3) / STATE_FILE).unlink()
    with pytest.raises(CheckpointError, match=r"no usable .*: .*step-3 is not a checkp") as caught:
        newest_checkpoint(checkpoints)
    assert caught.value.code == "checkpoint_missing"
    assert caught.value.hint == "train one with: alexnet train"


def test_the_best_is_the_newest_before_the_end_of_the_first_epoch(save, checkpoints):
    save(1)
    save(2)
    assert best_checkpoint(checkpoints).state.step == 2


def test_the_newest_replaces_a_damaged_best_with_a_warning(save, checkpoints, damage):
    save(1)
    save(2, best_step=1)
    assert best_checkpoint(checkpoints).state.step == 1
    damage(checkpoints / "step-1" / MODEL_FILE, -1)
    warnings = []
    assert best_checkpoint(checkpoints, warn=warnings.append).state.step == 2
    assert "step-1" in warnings[0]
    assert "using the newest" in warnings[0]


@pytest.mark.parametrize(
    ("steps", "best_step", "damaged", "kept"),
    [
        ((1, 2, 3, 9, 10), 2, 0, [10, 9, 2]),
        ((1, 2, 3), 3, 2, [3, 1]),  # as of a process killed while it saved
        ((1, 7, 2), 1, 0, [2, 1]),  # resumed from before a damaged step 7
    ],
    ids=["best and two newest", "valid one before the newest", "no later steps"],
)
def test_pruning_keeps(save, checkpoints, steps, best_step, damaged, kept):
    for step in steps:
        save(step, best_step=min(step, best_step))
    if damaged:
        (checkpoints / f"step-{damaged}" / STATE_FILE).unlink()
    prune_checkpoints(checkpoints / f"step-{steps[-1]}")
    assert saved_steps(checkpoints) == kept


def test_pruning_deletes_nothing_unless_the_newest_reads_back(save, checkpoints, damage):
    for step in (1, 2, 3, 4):
        save(step)
    damage(checkpoints / "step-4" / OPTIMIZER_FILE, -1)
    with pytest.raises(CheckpointError):
        prune_checkpoints(checkpoints / "step-4")
    assert saved_steps(checkpoints) == [4, 3, 2, 1]


def test_a_checkpoint_is_due_after_a_number_of_updates(make_checkpoint):
    with AsyncCheckpointer(minutes=0, steps=3) as checkpointer:
        assert [step for step in range(1, 9) if checkpointer.is_due(step)] == [3, 4, 5, 6, 7, 8]
        checkpoint, tensors = make_checkpoint(4)
        checkpointer.save(checkpoint, **tensors)
        assert [step for step in range(5, 9) if checkpointer.is_due(step)] == [7, 8]


def test_a_checkpoint_is_due_after_some_minutes():
    begin = time.monotonic()
    checkpointer = AsyncCheckpointer(minutes=0.05 / 60, steps=0)
    assert not checkpointer.is_due(1) or time.monotonic() - begin >= 0.05
    time.sleep(0.06)
    assert checkpointer.is_due(1)
    begin = time.monotonic()
    checkpointer.restart_timer(1)
    assert not checkpointer.is_due(2) or time.monotonic() - begin >= 0.05


def test_without_an_interval_no_checkpoint_is_due():
    checkpointer = AsyncCheckpointer(minutes=0, steps=0)
    assert not any(checkpointer.is_due(step) for step in (1, 10, 10**6))


def test_checkpoints_are_written_by_a_thread_that_ends_with_the_last(make_checkpoint, checkpoints):
    before = threading.active_count()
    with AsyncCheckpointer(minutes=0, steps=0) as checkpointer:
        for step in (1, 2, 3):
            checkpoint, tensors = make_checkpoint(step, best_step=step)
            checkpointer.save(checkpoint, **tensors)
        assert any(thread.name.startswith("checkpoint") for thread in threading.enumerate())
        checkpointer.wait()
        assert newest_checkpoint(checkpoints).state.step == 3
        checkpoint, tensors = make_checkpoint(4, best_step=4)
        checkpointer.save(checkpoint, **tensors)
    assert threading.active_count() == before
    assert saved_steps(checkpoints) == [4, 3]


def test_a_failed_write_is_an_error_of_the_next_call(make_checkpoint, checkpoints):
    checkpoints.write_text("no folder")
    checkpoint, tensors = make_checkpoint(1)
    with (
        pytest.raises(AlexnetError, match="cannot write"),
        AsyncCheckpointer(minutes=0, steps=0) as checkpointer,
    ):
        checkpointer.save(checkpoint, **tensors)
    metrics = []
    with AsyncCheckpointer(minutes=0, steps=0) as checkpointer:
        checkpointer.save(checkpoint, **tensors, write_metrics=lambda: metrics.append(1))
        with pytest.raises(AlexnetError, match="cannot write"):
            checkpointer.save(checkpoint, **tensors)
    assert not metrics  # which are never ahead of the checkpoints


def test_a_failed_write_does_not_hide_another_error(make_checkpoint, checkpoints):
    checkpoints.write_text("no folder")
    checkpoint, tensors = make_checkpoint(1)

    def save_and_fail():
        with AsyncCheckpointer(minutes=0, steps=0) as checkpointer:
            checkpointer.save(checkpoint, **tensors)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        save_and_fail()
