"""Which checkpoints are kept, and which one is taken."""

import json

import pytest

from alexnet_cli.errors import CheckpointError
from alexnet_cli.training.checkpoint import MODEL_FILE, OPTIMIZER_FILE, STATE_FILE
from alexnet_cli.training.saving import best_checkpoint, newest_checkpoint, prune_checkpoints


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
    assert "taking the newest" in warnings[0]
