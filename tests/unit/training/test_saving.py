import threading
import time

import pytest
import torch

from alexnet_cli.errors import AlexnetError
from alexnet_cli.training.checkpoint import Snapshot, TrainState, serialised
from alexnet_cli.training.saving import (
    AsyncCheckpointer,
    CheckpointTimer,
    SaveInterval,
    newest_checkpoint,
    saved_steps,
)
from tests.unit.training.conftest import AXES, CONFIG


@pytest.fixture
def snapshot(manifest):
    def make(step):
        content = serialised({"weight": torch.full((3,), float(step))})
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
