"""What a tracker is, and how one is opened. Shape letters: H height, W width, 3 = RGB."""

import importlib
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from alexnet_cli.errors import UsageError
from alexnet_cli.files import atomic_write
from alexnet_cli.runs import RunFolder


class TrackerName(StrEnum):
    """The trackers there are; each is a module of this room, and needs the package named so."""

    TENSORBOARD = "tensorboard"
    WANDB = "wandb"
    MLFLOW = "mlflow"


class Tracker(ABC):
    """Takes what a run shows.

    Attributes:
        errors: What its methods raise when it cannot do so, beside OSError.
    """

    errors: tuple[type[Exception], ...] = ()

    @abstractmethod
    def log_settings(self, settings: Mapping[str, object]) -> None:
        """Take the configuration of the run."""

    @abstractmethod
    def log_scalars(self, scalars: Mapping[str, float], *, epoch: int) -> None:
        """Take numbers, by names such as `val/top1`.

        Args:
            scalars: The numbers.
            epoch: Epochs done.
        """

    @abstractmethod
    def log_image(self, name: str, image_HW3: NDArray[np.uint8], *, epoch: int) -> None:
        """Take a picture."""

    def log_graph(self, network: nn.Module, images_NSS3: Tensor) -> None:  # noqa: B027 - optional
        """Take the network, if the tracker can show one."""

    @abstractmethod
    def close(self) -> None:
        """Write what is still held."""


def require_package(name: TrackerName) -> None:
    """Refuse a tracker that is not installed, before a run is begun.

    Raises:
        UsageError: Its package is not installed.
    """
    if importlib.util.find_spec(name) is None:
        raise UsageError(
            f"--{name} needs the package {name}, which is not installed",
            hint=f"pip install {name}",
            code="tracker_missing",
        )


def open_tracker(name: TrackerName, run: RunFolder, *, first_epoch: int) -> Tracker:
    """Open a tracker for a run, new or resumed.

    Args:
        name: Which.
        run: The run; its tracker's own files, if any, go into its folder.
        first_epoch: Epochs that are done already.

    Raises:
        UsageError: It cannot begin.
    """
    module = importlib.import_module(f"alexnet_cli.tracking.{name}")
    tracker: Tracker = module.open_run(run, first_epoch=first_epoch)
    return tracker


def remembered(path: Path, create: Callable[[], str]) -> str:
    """Return what a file holds, so that a resumed run goes on under its first name.

    Args:
        path: The file; it is written if it is not there.
        create: Makes its content.
    """
    if not path.is_file():
        atomic_write(path, create().encode())
    return path.read_text(encoding="utf-8").strip()


def not_started(name: TrackerName, error: Exception, *, hint: str) -> UsageError:
    """Return the error of a tracker that cannot begin."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return UsageError(f"--{name} cannot begin ({lines[0]})", hint=hint, code="tracker_failed")
