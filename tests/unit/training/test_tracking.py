"""A run of two epochs on tiny random images, tracked. The packages of two trackers are large: their
tests skip without them, `nox -s trackers` installs them.
"""

import importlib.util

import numpy as np
import pytest

from alexnet_cli.errors import UsageError
from alexnet_cli.models.build import PixelNetwork, build_network
from alexnet_cli.training.checkpoint import EpochRow
from alexnet_cli.training.tracking import TRACKERS, Tracker, open_trackers, require_package

ROWS = tuple(
    EpochRow(number, 0.1 / number, 2.0 - number, number / 4, 1.5, number / 5, 1.0, 0.1, 40.0)
    for number in (1, 2, 3)
)
ABSENT = [name for name in TRACKERS if importlib.util.find_spec(name) is None]


@pytest.fixture
def run(make_run):
    return make_run(momentum=0.8)


@pytest.fixture
def report(run):
    """Report a run's start and some epochs to a tracker."""
    network = PixelNetwork(build_network(run.manifest.network, seed=0), run.manifest.input)

    def report_to(tracker, *, done=0, rows=ROWS[:2]):
        tracker.on_start(network.train(), ROWS[:done])
        for row in rows:
            tracker.on_epoch(row, is_best=True)
        assert network.training

    return report_to


@pytest.fixture
def track(run, report, capsys):
    """Track a run from its first epoch, or from a later one as after a resume."""

    def track_with(name, *, done=0, rows):
        with open_trackers([name], run, first_epoch=done) as (tracker,):
            report(tracker, done=done, rows=rows)
        assert "warning" not in capsys.readouterr().err

    return track_with


class Log(Tracker):
    """Keeps what is logged, until it fails."""

    name, errors = "log", (OSError, LookupError)

    def __init__(self, run, *, fails_after=100, error=OSError):
        self.calls, self.fails_after, self.error = [], fails_after, error
        super().__init__(run, first_epoch=0)

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

    def finish(self):
        self._keep("finish")


def test_a_run_is_logged_in_order(run, report, capsys):
    tracker = Log(run)
    report(tracker)
    tracker.close()
    assert capsys.readouterr().err == ""
    names = [call[0] for call in tracker.calls]
    assert names == ["config", "images", "filters", *["filters", "scalars"] * 2, "finish"]
    (_, config), (_, images, _), (_, filters, _), _, (_, scalars, epoch) = tracker.calls[:5]
    assert config["momentum"] == 0.8
    assert np.array_equal(images[:8, :8], run.val.images_NHWC[0, 2:10, 2:10])  # the centre crop
    assert filters.dtype == np.uint8
    tile = filters[:5, :5]  # the first of 5×5 filters
    assert (tile.min(), tile.max()) == (0, 255)
    assert (epoch, scalars["train/loss"], scalars["val/top1"]) == (1, 1.0, 0.2)
    assert scalars["learning_rate"] == 0.1


@pytest.mark.parametrize("error", [OSError, LookupError])
@pytest.mark.parametrize("fails_after", [0, 3, 7], ids=["start", "epoch", "end"])
def test_a_tracker_that_fails_does_not_stop_training(run, report, fails_after, error, capsys):
    tracker = Log(run, fails_after=fails_after, error=error)
    report(tracker)
    tracker.close()
    (warning,) = capsys.readouterr().err.splitlines()
    assert "training continues" in warning
    assert "the disk is full" in warning
    assert len(tracker.calls) == fails_after


@pytest.mark.skipif(not ABSENT, reason="all trackers are installed")
def test_a_missing_package_is_an_error_before_a_run_is_created(alexnet, isolated):
    with pytest.raises(UsageError) as caught:
        require_package(ABSENT[0])
    assert caught.value.hint == f"pip install {ABSENT[0]}"
    refused = alexnet("train", "--data", "shapes", f"--{ABSENT[0]}")
    assert refused.returncode == 2
    assert f"needs the package {ABSENT[0]}" in refused.stderr
    assert not (isolated / "runs").exists()


def test_tensorboard_replaces_epochs_that_were_not_saved(run, track):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    track("tensorboard", rows=ROWS)  # killed before its third epoch was saved
    track("tensorboard", done=2, rows=ROWS[2:])
    events = EventAccumulator(str(run.folder.path / "tensorboard")).Reload()
    val_top1 = [(event.step, event.value) for event in events.Scalars("val/top1")]
    assert val_top1 == [(n, pytest.approx(n / 5)) for n in (1, 2, 3)]
    assert events.Images("filters")[-1].step == 3
    assert events.Tags()["graph"]
    config = events.Tensors("config/text_summary")[0]
    assert b"| momentum | 0.8 |" in config.tensor_proto.string_val[0]


@pytest.fixture
def wandb():
    """The package; afterwards it forgets its settings, which are those of the first test."""
    package = pytest.importorskip("wandb")
    yield package
    package.teardown()


@pytest.mark.usefixtures("wandb")
def test_wandb_offline_keeps_one_id_and_stays_here(run, track, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    track("wandb", rows=ROWS[:2])
    track("wandb", done=2, rows=ROWS[2:])
    identity = (run.folder.path / "wandb-id").read_text()
    kept = list((run.folder.path / "wandb").glob("offline-run-*"))
    assert {folder.name.rpartition("-")[2] for folder in kept} == {identity}
    assert not list((run.folder.path / "wandb").rglob("requirements.txt"))


@pytest.mark.usefixtures("wandb")
def test_wandb_without_a_login_is_an_error_before_training(track, monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UsageError) as caught:
        track("wandb", rows=())
    assert caught.value.code == "tracker_failed"
    assert "wandb login" in caught.value.hint


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # SQLAlchemy's, of MLflow
def test_mlflow_continues_a_resumed_run(track, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    track("mlflow", rows=ROWS[:2])
    track("mlflow", done=2, rows=ROWS[2:])
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("alexnet")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.params["momentum"] == "0.8"
    steps = [m.step for m in client.get_metric_history(found.info.run_id, "val/top1")]
    assert steps == [1, 2, 3]
    assert len(client.list_artifacts(found.info.run_id, "filters")) == 4
