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
from enum import StrEnum
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alexnet_cli.errors import UsageError, first_line
from alexnet_cli.files import atomic_write
from alexnet_cli.image import crop_centre
from alexnet_cli.models.layers import first_filters, mosaic, to_unit_range
from alexnet_cli.runs import RunFolder
from alexnet_cli.training.checkpoint import EpochRow
from alexnet_cli.training.reporting import Reporter
from alexnet_cli.training.setup import TrainingRun

_NUM_IMAGES = 32  # validation images shown
_GROUPED = {"train_loss": "train/loss", "train_top1": "train/top1", "val_loss": "val/loss",
            "val_top1": "val/top1"}  # fmt: skip


class TrackerName(StrEnum):
    """A tracker, named as its package and its flag."""

    TENSORBOARD = "tensorboard"
    WANDB = "wandb"
    MLFLOW = "mlflow"


class Tracker:
    """A log of one run; this one logs nothing.

    Attributes:
        name: For messages.
        errors: Exceptions, besides OSError, that its methods raise when they cannot log.
    """

    name = ""
    errors: tuple[type[Exception], ...] = ()

    def log_config(self, config: Mapping[str, object]) -> None:
        """Log the configuration of the run."""

    def log_scalars(self, scalars: Mapping[str, float], *, epoch: int) -> None:
        """Log a point of each curve; `epoch` counts completed epochs."""

    def log_image(self, name: str, image_HW3: NDArray[np.uint8], *, epoch: int) -> None:
        """Log a picture."""

    def log_graph(self, network: nn.Module, images_NSS3: Tensor) -> None:
        """Log the graph of a network, if the tracker can show one."""

    def close(self) -> None:
        """Write or send what is buffered."""


class TrackingReporter(Reporter):
    """Logs a run to a tracker. When the tracker fails, training continues without it.

    Args:
        tracker: The tracker.
        run: The run.
        warn: Called once with a message, if the tracker fails.
    """

    def __init__(self, tracker: Tracker, run: TrainingRun, warn: Callable[[str], None]) -> None:
        self._tracker, self._run, self._warn = tracker, run, warn
        self._errors: tuple[type[Exception], ...] = (OSError, *tracker.errors)
        self._has_failed = False
        self._network: nn.Module = nn.Identity()

    def on_start(self, model: nn.Module, history: tuple[EpochRow, ...]) -> None:
        """Log the configuration, the network, some images and the current filters."""
        self._network = model
        run, tracker, epoch = self._run, self._tracker, len(history)
        environment = {key: run.environment[key] for key in run.environment if key != "precision"}
        config = run.config.model_dump(mode="json") | environment
        self._attempt(partial(tracker.log_config, config))
        images_NSS3 = self._images()
        sheet = _picture((images_NSS3 / 255).astype(np.float32))
        self._attempt(partial(tracker.log_image, "images", sheet, epoch=epoch))
        example = torch.from_numpy(images_NSS3[:1]).to(run.device)
        self._attempt(partial(tracker.log_graph, model, example))
        self._log_filters(epoch)

    def on_epoch(self, row: EpochRow, *, is_best: bool) -> None:  # noqa: ARG002 - the curve shows it
        """Log the metrics and the filters of an epoch."""
        self._log_filters(row.epoch)
        fields = ("learning_rate", "images_per_second", "data_wait_share", *_GROUPED)
        scalars = {_GROUPED.get(name, name): float(getattr(row, name)) for name in fields}
        self._attempt(partial(self._tracker.log_scalars, scalars, epoch=row.epoch))

    def close(self) -> None:
        """Write or send what is buffered."""
        self._attempt(self._tracker.close)

    def _images(self) -> NDArray[np.uint8]:
        """Return the first validation images, as the network sees them in validation."""
        spec, val = self._run.manifest.input, self._run.val
        first = val.take(np.arange(min(_NUM_IMAGES, len(val))))
        squares = first.load_images(spec.image_size_px)
        return np.ascontiguousarray(crop_centre(squares, spec.crop_size_px))

    def _log_filters(self, epoch: int) -> None:
        filters = _picture(to_unit_range(first_filters(self._network)))
        self._attempt(partial(self._tracker.log_image, "filters", filters, epoch=epoch))

    def _attempt(self, log: Callable[[], None]) -> None:
        """Call the tracker, unless it has failed before."""
        if self._has_failed:
            return
        try:
            log()
        except self._errors as error:
            self._has_failed = True
            name = self._tracker.name
            self._warn(f"warning: {name} has failed, training continues without it ({error})")


def _picture(tiles_NSS3: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay tiles of values 0–1 out in a picture (H, W, 3), somewhat wider than high."""
    columns = int(len(tiles_NSS3) ** 0.5 * 1.4) or 1
    picture: NDArray[np.float32] = mosaic(tiles_NSS3, columns=columns)[..., :3] * 255
    return picture.round().astype(np.uint8)


def require_package(name: TrackerName) -> None:
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
    names: list[TrackerName], run: TrainingRun, *, first_epoch: int, warn: Callable[[str], None]
) -> Iterator[list[TrackingReporter]]:
    """Open trackers for a run, new or resumed, and close them however training ends.

    Args:
        names: The trackers.
        run: The run; files of trackers go into its folder.
        first_epoch: Number of completed epochs.
        warn: Called with a message if a tracker fails during training.
    """
    with contextlib.ExitStack() as stack:
        reporters = []
        for name in names:
            tracker = open_tracker(name, run.folder, first_epoch=first_epoch)
            reporters.append(TrackingReporter(tracker, run, warn))
            stack.callback(reporters[-1].close)
        yield reporters


def open_tracker(name: TrackerName, run: RunFolder, *, first_epoch: int) -> Tracker:
    """Open a tracker for a run, new or resumed.

    Raises:
        UsageError: It cannot start, for example because its server is out of reach.
    """
    match name:
        case TrackerName.TENSORBOARD:
            return _TensorBoard(run, first_epoch=first_epoch)
        case TrackerName.WANDB:
            return _WeightsAndBiases(run)
        case TrackerName.MLFLOW:
            return _MLflow(run)


class _TensorBoard(Tracker):
    """Event files in the run folder, shown by `tensorboard --logdir runs`."""

    name = "TensorBoard"

    def __init__(self, run: RunFolder, *, first_epoch: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # An interrupted process may have logged epochs that it had not saved.
        purge_step = first_epoch + 1 if first_epoch else None
        self._writer = SummaryWriter(str(run.path / "tensorboard"), purge_step=purge_step)

    def log_config(self, config: Mapping[str, object]) -> None:
        rows = "\n".join(f"| {name} | {value} |" for name, value in config.items())
        self._writer.add_text("config", f"| setting | value |\n|---|---|\n{rows}")

    def log_scalars(self, scalars: Mapping[str, float], *, epoch: int) -> None:
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def log_image(self, name: str, image_HW3: NDArray[np.uint8], *, epoch: int) -> None:
        self._writer.add_image(name, image_HW3, epoch, dataformats="HWC")

    def log_graph(self, network: nn.Module, images_NSS3: Tensor) -> None:
        was_training = network.training
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the writer still uses the tracer, which warns
            self._writer.add_graph(network.eval(), images_NSS3)
        network.train(was_training)

    def close(self) -> None:
        self._writer.close()


class _WeightsAndBiases(Tracker):
    """A run on the server of Weights & Biases, or with WANDB_MODE=offline in the run folder.

    Nothing is sent besides what is logged here: no console output, code, system statistics or
    reports of the package's own errors.
    """

    name = "Weights & Biases"

    def __init__(self, run: RunFolder) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read at import
        import wandb

        self.errors = (wandb.Error,)
        self._image = wandb.Image
        settings = wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True,
            x_disable_stats=True, x_disable_meta=True, x_save_requirements=False,
        )  # fmt: skip
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "alexnet"),
                name=run.path.name,
                id=_read_or_create(run.path / "wandb-id", partial(secrets.token_hex, 4)),
                resume="allow",
                dir=run.path,
                settings=settings,
            )
        except wandb.Error as error:
            hint = "log in with: wandb login; or keep it on this machine: WANDB_MODE=offline"
            raise _start_error(TrackerName.WANDB, error, hint=hint) from error

    def log_config(self, config: Mapping[str, object]) -> None:
        self._run.config.update(dict(config), allow_val_change=True)

    def log_scalars(self, scalars: Mapping[str, float], *, epoch: int) -> None:
        self._run.log(dict(scalars), step=epoch, commit=True)

    def log_image(self, name: str, image_HW3: NDArray[np.uint8], *, epoch: int) -> None:
        self._run.log({name: self._image(image_HW3)}, step=epoch, commit=False)

    def close(self) -> None:
        self._run.finish()


class _MLflow(Tracker):
    """A run on the server or database of MLFLOW_TRACKING_URI, or else MLflow's own default."""

    name = "MLflow"

    def __init__(self, run: RunFolder) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read at import
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        self.errors = (MlflowException,)
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # not each table of a new database
        try:
            self._client = MlflowClient()
            self._id = _read_or_create(run.path / "mlflow-id", partial(self._create, run.path.name))
            self._client.update_run(self._id, status="RUNNING")
        except MlflowException as error:
            database = f"sqlite:///{Path.cwd() / 'mlflow.db'}"
            hint = f"check MLFLOW_TRACKING_URI; to keep it on this machine: {database}"
            raise _start_error(TrackerName.MLFLOW, error, hint=hint) from error

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

    def close(self) -> None:
        self._client.set_terminated(self._id)


def _read_or_create(path: Path, create: Callable[[], str]) -> str:
    """Return the id in a file, created on the first call: a resumed run keeps its id."""
    if not path.is_file():
        atomic_write(path, create().encode())
    return path.read_text(encoding="utf-8").strip()


def _start_error(name: TrackerName, error: Exception, *, hint: str) -> UsageError:
    message = f"--{name} cannot start ({first_line(error)})"
    return UsageError(message, hint=hint, code="tracker_failed")
