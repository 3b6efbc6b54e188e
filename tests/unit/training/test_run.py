import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.data.content import hash_files
from alexnet_cli.data.run_images import read_record
from alexnet_cli.errors import CheckpointError, TrainingError, UsageError
from alexnet_cli.training.checkpoint import MODEL_FILE, saved_steps
from alexnet_cli.training.reporting import Reporter
from alexnet_cli.training.resume import resume_run
from alexnet_cli.training.run import prepare_run, train_run
from tests.made_runs import make_images

CPU = torch.device("cpu")
TINY = {"image_size": 12, "crop_size": 8, "val_size": 10, "epochs": 1}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return make_images(tmp_path_factory.mktemp("photos"), ("ant", "bee"), per_class=30)


@pytest.fixture
def prepare(tmp_path, photos):
    def make(**settings):
        config = TrainConfig(**{"data": str(photos), **TINY, **settings})
        return prepare_run(config, CPU, name="run", parent=tmp_path)

    return make


def resume(path, **requested):
    return resume_run(path, CPU, requested=requested)


def test_a_run_is_trained_resumed_and_locked(prepare):
    run = prepare()
    assert (len(run.train), len(run.val)) == (50, 10)
    assert "50 to train on, 10 held out" in run.manifest.provenance.images
    best = train_run(run)
    assert best.epoch == 1
    resumed, checkpoint = resume(run.folder.path, epochs=2)
    assert (resumed.config.epochs, checkpoint.state.epoch) == (2, 1)
    assert resumed.manifest.input == run.manifest.input
    with FileLock(run.folder.path / ".lock"), pytest.raises(TrainingError) as caught:
        train_run(resumed, checkpoint)
    assert caught.value.code == "run_busy"
    assert train_run(resumed, checkpoint).epoch in (1, 2)
    with pytest.raises(UsageError) as refused:
        resume(run.folder.path, seed=5)
    assert refused.value.code == "config_differs"


def test_nothing_is_written_for_an_impossible_run(prepare, tmp_path):
    with pytest.raises(UsageError, match="cannot hold out"):
        prepare(val_size=60)
    assert not (tmp_path / "run").exists()
    with pytest.raises(CheckpointError, match="is not a run folder"):
        resume(tmp_path)


class Moves(Reporter):
    """Moves the run folder during the training; an unmounted one leaves an empty folder."""

    def __init__(self, folder, event, *, is_unmounted):
        self.folder, self.event, self.is_unmounted = folder, event, is_unmounted

    def move(self, event):
        if event == self.event and self.folder.exists():
            if event == "epoch 1":
                time.sleep(0.5)  # until its checkpoint is written, which is resumed from
            self.folder.rename(self.folder.with_name("moved"))
            if self.is_unmounted:
                self.folder.mkdir()

    def on_step(self, *_):
        self.move("step")

    def on_epoch(self, row, **_):
        self.move(f"epoch {row.epoch}")


@pytest.mark.parametrize("is_unmounted", [False, True], ids=["renamed", "unmounted"])
@pytest.mark.parametrize("event", ["step", "epoch 1", "epoch 2"])
def test_a_run_folder_that_goes_away_is_an_error(prepare, event, is_unmounted):
    run = prepare(epochs=2)
    path = run.folder.path
    with pytest.raises(TrainingError) as caught:
        train_run(run, reporters=[Moves(path, event, is_unmounted=is_unmounted)])
    assert caught.value.code == "run_gone"
    moved = path.with_name("moved")
    if event == "step":
        assert not (path / "checkpoints").exists()
    else:
        resumed, checkpoint = resume(moved)
        assert train_run(resumed, checkpoint).epoch in (1, 2)
        assert resumed.folder.metrics_json.is_file()


def test_settings_edited_in_the_run_folder_are_noticed(prepare):
    run = prepare(epochs=1)
    train_run(run)
    path, config = run.folder.path, run.folder.config
    text = config.read_text()
    config.write_text(text.replace("epochs = 1\n", "epochs = 7\n"))
    with pytest.raises(UsageError) as caught:
        resume(path)
    assert (caught.value.code, "epochs is 7, not 1" in caught.value.message) == (
        "config_edited",
        True,
    )
    assert f"--resume {path} --epochs 7" in caught.value.hint
    assert resume(path, epochs=7)[0].config.epochs == 7
    for content in (b"epochs = [", b"epochs = true", b"\xff\xff", b"epoch = 3"):
        config.write_bytes(content)
        with pytest.raises(UsageError) as caught:
            resume(path)
        assert (caught.value.code, f"rm {config}" in caught.value.hint) == ("config_edited", True)
    config.unlink()
    assert resume(path)[0].config.epochs == 1
    assert config.read_text() == text


def test_going_back_to_an_older_checkpoint_keeps_the_later_ones(prepare):
    run = prepare(epochs=3)
    train_run(run)
    earlier = saved_steps(run.folder.checkpoints)[1]
    content = (run.folder.checkpoints / "step-3" / MODEL_FILE).read_bytes()
    resumed, checkpoint = resume(run.folder.checkpoints / f"step-{earlier}")
    with pytest.raises(TrainingError):
        train_run(resumed, checkpoint, [Fails(MemoryError())])
    assert (run.folder.set_aside / "step-3" / MODEL_FILE).read_bytes() == content
    rows = run.folder.metrics_csv.read_text().splitlines()[1:]
    assert len(rows) == json.loads(run.folder.metrics_json.read_text())["epochs"] == earlier
    train_run(*resume(run.folder.path))
    assert (run.folder.checkpoints / "step-3" / MODEL_FILE).read_bytes() == content


def test_drift_is_offered_only_where_it_helps(prepare, tmp_path):
    data = make_images(tmp_path / "few", ("ant", "bee"), per_class=10)
    run = prepare(data=str(data))
    train_run(run)
    trained = read_record(run.folder).trained_on
    paths = np.array([str(path) for path in data.rglob("*.png")], object)
    was_trained = np.isin(hash_files(Path(), paths), trained)
    for path in paths[was_trained][1:]:
        Path(path).unlink()
    for helps in (True, False):
        with pytest.raises(UsageError) as caught:
            resume(run.folder.path)
        assert ("--allow-drift" in caught.value.hint) == helps
        Path(paths[was_trained][0]).unlink(missing_ok=True)


class Fails(Reporter):
    def __init__(self, error):
        self.error = error

    def on_start(self, *_):
        raise self.error


@pytest.mark.parametrize(
    ("settings", "has_saved", "expected"),
    [
        ({}, False, "alexnet train --micro-batch-size 64"),
        ({"micro_batch_size": 10}, False, "alexnet train --micro-batch-size 5"),
        ({}, True, "--allow-drift --micro-batch-size 64"),
        ({"model": "alexnet-cifar-bn"}, False, "alexnet train --batch-size 64"),
        ({"batch_size": 1, "dropout": 0.1}, False, "--image-size"),
    ],
)
@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError()], ids=["CPU", "GPU"])
def test_the_error_of_too_little_memory_names_a_size(prepare, settings, has_saved, expected, error):
    run = prepare(**settings)
    if has_saved:
        folder = run.folder.checkpoints / "step-1"
        folder.mkdir(parents=True)
        (folder / "state.json").touch()
    with pytest.raises(TrainingError) as caught:
        train_run(run, reporters=[Fails(error)])
    assert caught.value.code == "out_of_memory"
    assert expected in caught.value.hint


def test_other_errors_pass(prepare):
    with pytest.raises(RuntimeError, match="a bug"):
        train_run(prepare(), reporters=[Fails(RuntimeError("a bug"))])
