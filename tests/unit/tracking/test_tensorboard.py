import pytest

pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from alexnet_cli.tracking.tensorboard import open_run

from .conftest import ROWS


def read(job):
    events = EventAccumulator(str(job.run.path / "tensorboard")).Reload()
    return events, {
        tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def test_what_it_writes_tensorboard_reads(job, track):
    assert track(open_run(job.run, first_epoch=0)) == []
    events, scalars = read(job)
    assert scalars["val/top1"] == [(1, pytest.approx(0.2)), (2, pytest.approx(0.4))]
    assert [image.step for image in events.Images("filters")] == [0, 1, 2]
    assert events.Tags()["graph"]
    (config,) = events.Tensors("config/text_summary")
    assert b"| momentum | 0.8 |" in config.tensor_proto.string_val[0]


def test_a_resumed_run_replaces_what_came_after_its_checkpoint(job, track):
    track(open_run(job.run, first_epoch=0), rows=ROWS)  # killed before its third epoch was saved
    track(open_run(job.run, first_epoch=2), done=2, rows=ROWS[2:])
    _, scalars = read(job)
    assert [step for step, _ in scalars["train/loss"]] == [1, 2, 3]
