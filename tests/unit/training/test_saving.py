import json
import threading
import time

import pytest
import torch

from alexnet_cli.errors import AlexnetError, CheckpointError
from alexnet_cli.training.checkpoint import (
    MODEL_FILE,
    OPTIMIZER_FILE,
    STATE_FILE,
    Snapshot,
    TrainState,
    to_safetensors,
)
from alexnet_cli.training.saving import (
    AsyncCheckpointer,
    CheckpointTimer,
    SaveInterval,
    best_checkpoint,
    newest_checkpoint,
    prune_checkpoints,
    saved_steps,
)
from tests.unit.training.conftest import AXES, CONFIG


@pytest.fixture
def snapshot(manifest):
    def make(step):
        content = to_safetensors({"weight": torch.full((3,), float(step))})
        state = TrainState(step, best_step=step)
        return Snapshot(state, CONFIG, {}, manifest, AXES, content, content)

    return make


def test_the_clock_counts_updates():
    clock = CheckpointTimer(SaveInterval(minutes=0, steps=3))
    assert [step for step in range(1, 9) if clock.is_due(step)] == [3, 4, 5, 6, 7, 8]
    clock.restart(4)
    assert [step for step in range(5, 9) if clock.is_due(step)] == [7, 8]


def test_the_clock_counts_minutes():
    begin = time.monotonic()
    clock = CheckpointTimer(SaveInterval(minutes=0.05 / 60))
    assert not clock.is_due(1) or time.monotonic() - begin >= 0.05
    time.sleep(0.06)
    assert clock.is_due(1)
    begin = time.monotonic()
    clock.restart(1)
    assert not clock.is_due(2) or time.monotonic() - begin >= 0.05


def test_without_an_interval_nothing_is_due():
    clock = CheckpointTimer(SaveInterval(minutes=0, steps=0))
    assert not any(clock.is_due(step) for step in (1, 10, 10**6))


def test_what_was_saved_is_on_the_disk_when_the_saver_is_left(snapshot, tmp_path):
    with AsyncCheckpointer(tmp_path) as saver:
        for step in (1, 2, 3):
            saver.save(snapshot(step))
    assert saved_steps(tmp_path) == [3, 2]
    assert newest_checkpoint(tmp_path).state.step == 3


def test_waiting_means_that_it_can_be_read(snapshot, tmp_path):
    with AsyncCheckpointer(tmp_path) as saver:
        saver.save(snapshot(1))
        saver.wait()
        assert newest_checkpoint(tmp_path).state.step == 1


def test_it_writes_in_a_thread_that_ends(snapshot, tmp_path):
    before = threading.active_count()
    with AsyncCheckpointer(tmp_path) as saver:
        saver.save(snapshot(1))
        assert any(thread.name.startswith("checkpoint") for thread in threading.enumerate())
    assert threading.active_count() == before


def test_a_failed_write_is_an_error_of_the_next_call(snapshot, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with (
        pytest.raises(AlexnetError, match="cannot write"),
        AsyncCheckpointer(tmp_path / "file") as saver,
    ):
        saver.save(snapshot(1))
    with AsyncCheckpointer(tmp_path / "file") as saver:
        saver.save(snapshot(1))
        with pytest.raises(AlexnetError, match="cannot write"):
            saver.save(snapshot(2))


def test_another_error_is_not_hidden_by_a_failed_write(snapshot, tmp_path):
    (tmp_path / "file").write_text("no folder")

    def save_and_fail():
        with AsyncCheckpointer(tmp_path / "file") as saver:
            saver.save(snapshot(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        save_and_fail()


def steps(folder):
    return sorted(int(path.name.removeprefix("step-")) for path in folder.iterdir())


def test_newest_falls_back_to_an_older_whole_one_and_warns(save, folder, damage):
    for step in (9, 10, 100):  # 100 is newest by number, not by name
        save(step)
    assert newest_checkpoint(folder).state.step == 100
    (folder / "step-100" / STATE_FILE).unlink()
    damage(folder / "step-10" / MODEL_FILE, -1)
    warnings = []
    assert newest_checkpoint(folder, warn=warnings.append).state.step == 9
    assert ["step-100" in warnings[0], "step-10" in warnings[1], len(warnings)] == [True, True, 2]


def test_newest_falls_back_when_the_manifest_is_damaged(save, folder, damage):
    save(1)
    path = save(2) / STATE_FILE
    document = json.loads(path.read_text())
    document["manifest"]["network"]["name"] = "alexnet-cifas"
    path.write_text(json.dumps(document))
    assert newest_checkpoint(folder).state.step == 1


def test_newest_needs_one_that_is_whole_and_says_what_is_wrong_with_it(save, folder, damage):
    save(2)
    damage(folder / "step-2" / MODEL_FILE, -1)
    (save(3) / STATE_FILE).unlink()
    with pytest.raises(CheckpointError, match=r"no usable .*: .*step-3 is not a checkp") as caught:
        newest_checkpoint(folder)
    assert caught.value.code == "checkpoint_missing"
    assert caught.value.hint == "train one with: alexnet train"


def test_prune_keeps_a_whole_one_before_the_newest(save, folder, damage):
    for step in (1, 2, 3):
        save(step)
    (folder / "step-2" / STATE_FILE).unlink()  # as of a process killed while it saved
    prune_checkpoints(folder / "step-3", best_step=3)
    assert steps(folder) == [1, 3]


def test_prune_keeps_the_best_and_the_two_newest(save, folder, damage):
    for step in (1, 2, 3, 9, 10):
        save(step, best_step=2)
    prune_checkpoints(folder / "step-10", best_step=2)
    assert steps(folder) == [2, 9, 10]
    assert best_checkpoint(folder).state.step == 2
    prune_checkpoints(folder / "step-10", best_step=10)
    assert steps(folder) == [9, 10]


def test_prune_deletes_nothing_unless_the_newest_reads_back(save, folder, damage):
    for step in (1, 2, 3, 4):
        save(step)
    damage(folder / "step-4" / OPTIMIZER_FILE, -1)
    with pytest.raises(CheckpointError):
        prune_checkpoints(folder / "step-4", best_step=0)
    assert steps(folder) == [1, 2, 3, 4]


def test_prune_removes_later_leftovers(save, folder, damage):
    for step in (1, 2, 7):
        save(step)
    prune_checkpoints(folder / "step-2", best_step=1)
    assert steps(folder) == [1, 2]


def test_best_is_the_newest_before_the_end_of_the_first_epoch(save, folder, damage):
    save(1)
    save(2)
    assert best_checkpoint(folder).state.step == 2


def test_in_place_of_a_damaged_best_comes_the_newest_and_a_warning(save, folder, damage):
    save(1)
    save(2, best_step=1)
    damage(folder / "step-1" / MODEL_FILE, -1)
    warnings = []
    assert best_checkpoint(folder, warn=warnings.append).state.step == 2
    assert "step-1" in warnings[0]
    assert "using the newest" in warnings[0]
