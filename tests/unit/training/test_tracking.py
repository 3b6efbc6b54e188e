"""A run of two epochs on tiny random images, tracked. The packages of two trackers are large: their
tests skip without them, `nox -s trackers` installs them.
"""

import importlib.util

import numpy as np
import pytest
import torch

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.errors import UsageError
from alexnet_cli.manifest import InputSpec, Manifest, Provenance
from alexnet_cli.models.build import build_network
from alexnet_cli.models.layers import PixelNetwork
from alexnet_cli.networks import Network, NetworkSpec
from alexnet_cli.runs import RunFolder
from alexnet_cli.training.checkpoint import EpochRow
from alexnet_cli.training.setup import TrainingRun
from alexnet_cli.training.tracking import (
    Tracker,
    TrackerName,
    TrackingReporter,
    open_tracker,
    require_package,
)

ROWS = tuple(
    EpochRow(number, 0.1 / number, 2.0 - number, number / 4, 1.5, number / 5, 1.0, 0.1, 40.0)
    for number in (1, 2, 3)
)
ABSENT = [name for name in TrackerName if importlib.util.find_spec(name) is None]


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 3), np.uint8)
    images = ImageArrays(pixels, np.arange(5, dtype=np.int64) % 4)
    manifest = Manifest(
        NetworkSpec(Network.ALEXNET_CIFAR, num_classes=4, crop_size_px=8, dropout=0.5),
        InputSpec(12, 8, scale=(0.02,) * 3, shift=(-2.5,) * 3),
        ("ant", "bee", "cat", "dog"),
        Provenance("shapes", 5, 20, 0, 0.0, "0" * 64, {}),
    )
    config = TrainConfig(data="shapes", epochs=3, momentum=0.8)
    cpu = torch.device("cpu")
    return TrainingRun(config, manifest, images, images, folder, cpu, torch.float32)


@pytest.fixture
def track(run):
    """Report a run's start, some epochs and its end to a tracker; returns the warnings."""
    network = PixelNetwork(build_network(run.manifest.network, seed=0), run.manifest.input)

    def track_with(tracker, *, done=0, rows=ROWS[:2]):
        warnings = []
        reporter = TrackingReporter(tracker, run, warnings.append)
        reporter.on_start(network.train(), ROWS[:done])
        for row in rows:
            reporter.on_epoch(row, is_best=True)
        reporter.close()
        assert network.training
        return warnings

    return track_with


@pytest.fixture
def track_twice(run, track):
    """Track a run, and its resumption after two epochs."""

    def track_with(name, *, before=ROWS[:2]):
        assert track(open_tracker(name, run.folder, first_epoch=0), rows=before) == []
        assert track(open_tracker(name, run.folder, first_epoch=2), done=2, rows=ROWS[2:]) == []

    return track_with


class Log(Tracker):
    """Keeps what is logged, until it fails."""

    name, errors = "log", (LookupError,)

    def __init__(self, *, fails_after=100, error=OSError):
        self.calls, self.fails_after, self.error = [], fails_after, error

    def _keep(self, *call):
        if len(self.calls) == self.fails_after:
            raise self.error("the disk is full")
        self.calls.append(call)

    def log_config(self, config):
        self._keep("config", dict(config))

    def log_scalars(self, scalars, *, epoch):
        self._keep("scalars", dict(scalars), epoch)

    def log_image(self, name, image_HW3, *, epoch):
        self._keep(name, image_HW3, epoch)

    def close(self):
        self._keep("close")


def test_a_run_is_logged_in_order(run, track):
    tracker = Log()
    assert track(tracker) == []
    names = [call[0] for call in tracker.calls]
    assert names == ["config", "images", "filters", *["filters", "scalars"] * 2, "close"]
    (_, config), (_, images, _), (_, filters, _), _, (_, scalars, epoch) = tracker.calls[:5]
    assert config["momentum"] == 0.8
    assert np.array_equal(images[:8, :8], run.val.images_NHWC[0, 2:10, 2:10])  # the centre crop
    assert filters.dtype == np.uint8
    tile = filters[:5, :5]  # the first of 5×5 filters
    assert (tile.min(), tile.max()) == (0, 255)
    assert (epoch, scalars["train/loss"], scalars["val/top1"]) == (1, 1.0, 0.2)
    assert scalars["learning_rate"] == 0.1


@pytest.mark.parametrize("error", [OSError, LookupError])
def test_a_tracker_that_fails_does_not_stop_training(track, error):
    tracker = Log(fails_after=3, error=error)
    (warning,) = track(tracker)
    assert "training continues" in warning
    assert "the disk is full" in warning
    assert len(tracker.calls) == 3


@pytest.mark.skipif(not ABSENT, reason="all trackers are installed")
def test_a_missing_package_is_an_error_before_a_run_is_created(alexnet, isolated):
    with pytest.raises(UsageError) as caught:
        require_package(ABSENT[0])
    assert caught.value.hint == f"pip install {ABSENT[0]}"
    refused = alexnet("train", "--data", "shapes", f"--{ABSENT[0]}")
    assert refused.returncode == 2
    assert f"needs the package {ABSENT[0]}" in refused.stderr
    assert not (isolated / "runs").exists()


def read_events(run):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.folder.path / "tensorboard")).Reload()
    return events, {
        tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def test_tensorboard_reads_what_it_wrote(run, track):
    assert track(open_tracker(TrackerName.TENSORBOARD, run.folder, first_epoch=0)) == []
    events, scalars = read_events(run)
    assert scalars["val/top1"] == [(1, pytest.approx(0.2)), (2, pytest.approx(0.4))]
    assert [image.step for image in events.Images("filters")] == [0, 1, 2]
    assert events.Tags()["graph"]
    (config,) = events.Tensors("config/text_summary")
    assert b"| momentum | 0.8 |" in config.tensor_proto.string_val[0]


def test_tensorboard_replaces_epochs_that_were_not_saved(run, track_twice):
    track_twice(TrackerName.TENSORBOARD, before=ROWS)  # killed before its third epoch was saved
    _, scalars = read_events(run)
    assert [step for step, _ in scalars["train/loss"]] == [1, 2, 3]


@pytest.fixture
def wandb():
    """The package; afterwards it forgets its settings, which are those of the first test."""
    package = pytest.importorskip("wandb")
    yield package
    package.teardown()


@pytest.mark.usefixtures("wandb")
def test_wandb_offline_keeps_one_id_and_stays_here(run, track_twice, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    track_twice(TrackerName.WANDB)
    identity = (run.folder.path / "wandb-id").read_text()
    kept = list((run.folder.path / "wandb").glob("offline-run-*"))
    assert {folder.name.rpartition("-")[2] for folder in kept} == {identity}
    assert not list((run.folder.path / "wandb").rglob("requirements.txt"))


@pytest.mark.usefixtures("wandb")
def test_wandb_without_a_login_is_an_error_before_training(run, monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UsageError) as caught:
        open_tracker(TrackerName.WANDB, run.folder, first_epoch=0)
    assert caught.value.code == "tracker_failed"
    assert "wandb login" in caught.value.hint


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # SQLAlchemy's, of MLflow
def test_mlflow_continues_a_resumed_run(track_twice, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    track_twice(TrackerName.MLFLOW)
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("alexnet")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.params["momentum"] == "0.8"
    steps = [m.step for m in client.get_metric_history(found.info.run_id, "val/top1")]
    assert steps == [1, 2, 3]
    assert len(client.list_artifacts(found.info.run_id, "filters")) == 4
