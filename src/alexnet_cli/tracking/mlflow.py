"""MLflow: to the server or database that MLFLOW_TRACKING_URI names, else MLflow's own default."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when the package is imported

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from numpy.typing import NDArray

from alexnet_cli.runs import RunFolder
from alexnet_cli.tracking.tracker import Tracker, TrackerName, not_started, remembered

_EXPERIMENT = "alexnet"


class MLflow(Tracker):
    """A run of MLflow.

    Args:
        run: The run; a resumed one goes on under its first id.
    """

    errors = (MlflowException,)

    def __init__(self, run: RunFolder) -> None:
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # not each table of a new database
        self._client = MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT)
        self._id = remembered(run.path / "mlflow-id", lambda: self._begin(name, run.path.name))
        self._client.update_run(self._id, status="RUNNING")

    def _begin(self, experiment: str, name: str) -> str:
        known = self._client.get_experiment_by_name(experiment)
        number = known.experiment_id if known else self._client.create_experiment(experiment)
        return str(self._client.create_run(number, run_name=name).info.run_id)

    def log_settings(self, settings: Mapping[str, object]) -> None:
        """Set those that are not set yet: MLflow's parameters never change."""
        known = self._client.get_run(self._id).data.params
        for name, value in settings.items():
            if name not in known:
                self._client.log_param(self._id, name, value)

    def log_scalars(self, scalars: Mapping[str, float], *, epoch: int) -> None:
        """Log one point of each curve."""
        for name, value in scalars.items():
            self._client.log_metric(self._id, name, value, step=epoch)

    def log_image(self, name: str, image_HW3: NDArray[np.uint8], *, epoch: int) -> None:
        """Keep a picture as an artifact."""
        self._client.log_image(self._id, image_HW3, artifact_file=f"{name}/epoch-{epoch:04}.png")

    def close(self) -> None:
        """Mark the run as ended."""
        self._client.set_terminated(self._id)


def open_run(run: RunFolder, *, first_epoch: int) -> MLflow:  # noqa: ARG001 - its store knows
    """Open or go on with a run.

    Raises:
        UsageError: Its server or database is out of reach.
    """
    try:
        return MLflow(run)
    except MlflowException as error:
        hint = f"check MLFLOW_TRACKING_URI; to keep it here: sqlite:///{Path.cwd() / 'mlflow.db'}"
        raise not_started(TrackerName.MLFLOW, error, hint=hint) from error
