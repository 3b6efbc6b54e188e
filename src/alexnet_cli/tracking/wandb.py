"""Weights & Biases: goes to its server, or with WANDB_MODE=offline into the run folder.

Nothing is sent but what is logged here: no console output, code, system statistics or reports of
its own errors.
"""

import os
import secrets
from collections.abc import Mapping
from functools import partial

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read when the package is imported

import numpy as np
import wandb
from numpy.typing import NDArray

from alexnet_cli.runs import RunFolder
from alexnet_cli.tracking.tracker import Tracker, TrackerName, not_started, remembered

_PROJECT = "alexnet"


class WeightsAndBiases(Tracker):
    """A run of Weights & Biases.

    Args:
        run: The run; a resumed one goes on under its first id.
    """

    errors = (wandb.Error,)

    def __init__(self, run: RunFolder) -> None:
        quiet = wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True,
            x_disable_stats=True, x_disable_meta=True, x_save_requirements=False,
        )  # fmt: skip
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=run.path.name,
            id=remembered(run.path / "wandb-id", partial(secrets.token_hex, 4)),
            resume="allow",
            dir=run.path,
            settings=quiet,
        )

    def log_settings(self, settings: Mapping[str, object]) -> None:
        """Make them the run's configuration."""
        self._run.config.update(dict(settings), allow_val_change=True)

    def log_scalars(self, scalars: Mapping[str, float], *, epoch: int) -> None:
        """Log one point of each curve."""
        self._run.log(dict(scalars), step=epoch, commit=True)

    def log_image(self, name: str, image_HW3: NDArray[np.uint8], *, epoch: int) -> None:
        """Log a picture, with the numbers of the same epoch."""
        self._run.log({name: wandb.Image(image_HW3)}, step=epoch, commit=False)

    def close(self) -> None:
        """Send or write the rest."""
        self._run.finish()


def open_run(run: RunFolder, *, first_epoch: int) -> WeightsAndBiases:  # noqa: ARG001 - its server knows
    """Open or go on with a run.

    Raises:
        UsageError: It cannot begin: nobody is logged in, or its server is out of reach.
    """
    try:
        return WeightsAndBiases(run)
    except wandb.Error as error:
        hint = "log in with: wandb login; or keep it on this machine: WANDB_MODE=offline"
        raise not_started(TrackerName.WANDB, error, hint=hint) from error
