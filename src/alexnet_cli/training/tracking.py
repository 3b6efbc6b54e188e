"""Experiment trackers: TensorBoard, Weights & Biases and MLflow.

Each shows the configuration, the curves, some validation images and the filters of the first layer.
A tracker's package is imported when the tracker is opened.

Shape letters: N images, S side, H height, W width, 3 = RGB.
"""

import contextlib
import importlib.util
import logging
import os
import secrets
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alexnet_cli.console import note
from alexnet_cli.errors import UsageError, first_line
from alexnet_cli.files import atomic_write
from alexnet_cli.image import crop_centre
from alexnet_cli.manifest import public_settings
from alexnet_cli.models.build import first_filters, mosaic, to_unit_range
from alexnet_cli.training.checkpoint import EpochRow
from alexnet_cli.training.reporting import Reporter
from alexnet_cli.training.setup import TrainingRun

_NUM_IMAGES = 32  # validation images shown
_CURVES = {
    "learning_rate": "learning_rate",
    "images_per_second": "images_per_second",
    "data_wait_share": "data_wait_share",
    "train_loss": "train/loss",
    "train_top1": "train/top1",
    "val_loss": "val/loss",
    "val_top1": "val/top1",
}


class Tracker(Reporter):
    """A log of a run; this one logs nothing. When logging fails, training continues without it."""

    name = ""  # for messages
    errors: tuple[type[Exception], ...] = (OSError,)  # that the methods below may raise

    def __init__(self, run: TrainingRun, *, first_epoch: int) -> None:
        self.run, self.first_epoch = run, first_epoch
        self._has_failed = False
        self._model: nn.Module = nn.Identity()

    def open(self) -> None:
        """Open the log of a run, new or resumed after `first_epoch` completed epochs.

        Raises:
            UsageError: It cannot start, for example because its server is out of reach.
        """

    def log_config(self, config: Mapping[str, object]) -> None:
        """Log the configuration and the environment of the run."""

    def log_scalars(self, scalars: Mapping[str, float], *, epoch: int) -> None:
        """Log a point of each curve; `epoch` counts completed epochs."""

    def log_image(self, name: str, image_HW3: NDArray[np.uint8], *, epoch: int) -> None:
        """Log a picture."""

    def log_graph(self, model: nn.Module, images_NSS3: Tensor) -> None:
        """Log the graph of a model, if the tracker can show one."""

    def finish(self) -> None:
        """Write or send what is buffered."""

    def on_start(self, model: nn.Module, history: tuple[EpochRow, ...]) -> None:
        self._model, spec, val = model, self.run.manifest.input, self.run.val
        first = val.take(np.arange(min(_NUM_IMAGES, len(val)))).load_images(spec.image_size_px)
        images_NSS3 = np.ascontiguousarray(crop_centre(first, spec.crop_size_px))
        environment = {k: v for k, v in self.run.environment.items() if k != "precision"}
        with self._without_stopping():
            self.log_config(public_settings(self.run.config.model_dump(mode="json")) | environment)
            sheet = _picture((images_NSS3 / 255).astype(np.float32))
            self.log_image("images", sheet, epoch=len(history))
            self.log_graph(model, torch.from_numpy(images_NSS3[:1]).to(self.run.device))
            self._log_filters(len(history))

    def on_epoch(self, row: EpochRow, *, is_best: bool) -> None:  # noqa: ARG002 - the curve shows it
        if not self._has_failed:
            with self._without_stopping():
                self._log_filters(row.epoch)
                scalars = {tag: float(getattr(row, field)) for field, tag in _CURVES.items()}
                self.log_scalars(scalars, epoch=row.epoch)

    def close(self) -> None:
        if not self._has_failed:
            with self._without_stopping():
                self.finish()

    def _log_filters(self, epoch: int) -> None:
        filters = _picture(to_unit_range(first_filters(self._model)))
        self.log_image("filters", filters, epoch=epoch)

    @contextlib.contextmanager
    def _without_stopping(self) -> Iterator[None]:
        try:
            yield
        except self.errors as error:
            self._has_failed = True
            note(f"warning: {self.name} has failed, training continues without it ({error})")


def _picture(tiles_NSS3: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay tiles of values 0–1 out in a picture (H, W, 3), somewhat wider than high."""
    columns = int(len(tiles_NSS3) ** 0.5 * 1.4) or 1
    picture: NDArray[np.float32] = mosaic(tiles_NSS3, columns=columns)[..., :3] * 255
    return picture.round().astype(np.uint8)


class TensorBoard(Tracker):
    """Event files in the run folder, shown by `tensorboard --logdir runs`."""

    name = "TensorBoard"

    def open(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # An interrupted process may have logged epochs that it had not saved.
        purge_step = self.first_epoch + 1 if self.first_epoch else None
        folder = self.run.folder.path / "tensorboard"
        self._writer = SummaryWriter(str(folder), purge_step=purge_step)

    def log_config(self, config: Mapping[str, object]) -> None:
        rows = "\n".join(f"| {name} | {value} |" for name, value in config.items())
        self._writer.add_text("config", f"| setting | value |\n|---|---|\n{rows}")

    def log_scalars(self, scalars: Mapping[str, float], *, epoch: int) -> None:
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def log_image(self, name: str, image_HW3: NDArray[np.uint8], *, epoch: int) -> None:
        self._writer.add_image(name, image_HW3, epoch, dataformats="HWC")

    def log_graph(self, model: nn.Module, images_NSS3: Tensor) -> None:
        was_training = model.training
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the writer still uses the tracer, which warns
            self._writer.add_graph(model.eval(), images_NSS3)
        model.train(was_training)

    def finish(self) -> None:
        self._writer.close()


class WeightsAndBiases(Tracker):
    """A run on the server of Weights & Biases, or with WANDB_MODE=offline in the run folder.

    Nothing is sent besides what is logged here: no console output, code, system statistics or
    reports of the package's own errors.
    """

    name = "Weights & Biases"

    def open(self) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read at import
        import wandb

        self.errors, self._image = (OSError, wandb.Error), wandb.Image
        settings = wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True,
            x_disable_stats=True, x_disable_meta=True, x_save_requirements=False,
        )  # fmt: skip
        folder = self.run.folder.path
        try:
            self._log = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "alexnet"),
                name=folder.name,
                id=_read_or_create(folder / "wandb-id", partial(secrets.token_hex, 4)),
                resume="allow",
                dir=folder,
                settings=settings,
            )
        except wandb.Error as error:
            hint = "log in with: wandb login; or keep it on this machine: WANDB_MODE=offline"
            raise _start_error("wandb", error, hint=hint) from error

    def log_config(self, config: Mapping[str, object]) -> None:
        self._log.config.update(dict(config), allow_val_change=True)

    def log_scalars(self, scalars: Mapping[str, float], *, epoch: int) -> None:
        self._log.log(dict(scalars), step=epoch, commit=True)

    def log_image(self, name: str, image_HW3: NDArray[np.uint8], *, epoch: int) -> None:
        self._log.log({name: self._image(image_HW3)}, step=epoch, commit=False)

    def finish(self) -> None:
        self._log.finish()


class MLflow(Tracker):
    """A run on the server or database of MLFLOW_TRACKING_URI, or else MLflow's own default."""

    name = "MLflow"

    def open(self) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read at import
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        self.errors, folder = (OSError, MlflowException), self.run.folder.path
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # not each table of a new database
        try:
            self._client = MlflowClient()
            self._id = _read_or_create(folder / "mlflow-id", partial(self._create, folder.name))
            self._client.update_run(self._id, status="RUNNING")
        except MlflowException as error:
            database = f"sqlite:///{Path.cwd() / 'mlflow.db'}"
            hint = f"check MLFLOW_TRACKING_URI; to keep it on this machine: {database}"
            raise _start_error("mlflow", error, hint=hint) from error

    def _create(self, name: str) -> str:
        title = os.environ.get("MLFLOW_EXPERIMENT_NAME", "alexnet")
        found = self._client.get_experiment_by_name(title)
        experiment = found.experiment_id if found else self._client.create_experiment(title)
        return str(self._client.create_run(experiment, run_name=name).info.run_id)

    def log_config(self, config: Mapping[str, object]) -> None:
        logged = self._client.get_run(self._id).data.params  # which cannot change
        for name in config.keys() - logged.keys():
            self._client.log_param(self._id, name, config[name])

    def log_scalars(self, scalars: Mapping[str, float], *, epoch: int) -> None:
        for name, value in scalars.items():
            self._client.log_metric(self._id, name, value, step=epoch)

    def log_image(self, name: str, image_HW3: NDArray[np.uint8], *, epoch: int) -> None:
        self._client.log_image(self._id, image_HW3, artifact_file=f"{name}/epoch-{epoch:04}.png")

    def finish(self) -> None:
        self._client.set_terminated(self._id)


TRACKERS = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases, "mlflow": MLflow}
"""By the name of their flag, which is that of their package too."""


def require_package(name: str) -> None:
    """Check that the package of a tracker is installed, before a run is created.

    Raises:
        UsageError: The package is not installed.
    """
    if importlib.util.find_spec(name) is None:
        raise UsageError(
            f"--{name} needs the package {name}, which is not installed",
            hint=f"pip install {name}",
            code="tracker_missing",
        )


@contextlib.contextmanager
def open_trackers(
    names: list[str], run: TrainingRun, *, first_epoch: int
) -> Iterator[list[Tracker]]:
    """Open trackers for a run, on rank 0, and close them however training ends."""
    with contextlib.ExitStack() as stack:
        names = names if run.ranks.is_first else []
        trackers = [TRACKERS[name](run, first_epoch=first_epoch) for name in names]
        for tracker in trackers:
            tracker.open()
            stack.callback(tracker.close)
        yield trackers


def _read_or_create(path: Path, create: Callable[[], str]) -> str:
    """Return the id in a file, created on the first call: a resumed run keeps its id."""
    if not path.is_file():
        atomic_write(path, create().encode())
    return path.read_text(encoding="utf-8").strip()


def _start_error(name: str, error: Exception, *, hint: str) -> UsageError:
    message = f"--{name} cannot start ({first_line(error)})"
    return UsageError(message, hint=hint, code="tracker_failed")
