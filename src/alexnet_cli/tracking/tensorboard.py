"""TensorBoard: event files in the run folder, shown by `tensorboard --logdir runs`."""

import warnings
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from alexnet_cli.runs import RunFolder
from alexnet_cli.tracking.tracker import Tracker


class TensorBoard(Tracker):
    """Event files.

    Args:
        run: The run.
        first_epoch: Epochs done; what an interrupted process wrote of later ones is not shown.
    """

    def __init__(self, run: RunFolder, *, first_epoch: int) -> None:
        self._writer = SummaryWriter(
            str(run.path / "tensorboard"), purge_step=first_epoch + 1 if first_epoch else None
        )

    def log_settings(self, settings: Mapping[str, object]) -> None:
        """Write them as a table."""
        rows = "\n".join(f"| {name} | {value} |" for name, value in settings.items())
        self._writer.add_text("config", f"| setting | value |\n|---|---|\n{rows}")

    def log_scalars(self, scalars: Mapping[str, float], *, epoch: int) -> None:
        """Write one point of each curve."""
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def log_image(self, name: str, image_HW3: NDArray[np.uint8], *, epoch: int) -> None:
        """Write a picture."""
        self._writer.add_image(name, image_HW3, epoch, dataformats="HWC")

    def log_graph(self, network: nn.Module, images_NSS3: Tensor) -> None:
        """Write the network as a graph of its layers."""
        was_training = network.training
        with warnings.catch_warnings(), torch.no_grad():
            # What the tracer, which TensorBoard's writer still uses, would warn of is meant.
            warnings.simplefilter("ignore")
            self._writer.add_graph(network.eval(), images_NSS3)
        network.train(was_training)

    def close(self) -> None:
        """Write the rest."""
        self._writer.close()


def open_run(run: RunFolder, *, first_epoch: int) -> TensorBoard:
    """Open the event files of a run."""
    return TensorBoard(run, first_epoch=first_epoch)
