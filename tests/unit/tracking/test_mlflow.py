import pytest

mlflow = pytest.importorskip("mlflow")

from .conftest import ROWS  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # SQLAlchemy's, of MLflow


def test_a_run_and_its_resumption_are_one(job, track, tmp_path, monkeypatch):
    from alexnet_cli.tracking.mlflow import open_run

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    assert track(open_run(job.run, first_epoch=0)) == []
    assert track(open_run(job.run, first_epoch=2), done=2, rows=ROWS[2:]) == []
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("alexnet")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["momentum"] == "0.8"
    steps = [m.step for m in client.get_metric_history(run.info.run_id, "val/top1")]
    assert steps == [1, 2, 3]
    assert len(client.list_artifacts(run.info.run_id, "filters")) == 4
