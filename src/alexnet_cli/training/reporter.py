"""Who is told how training goes."""

from torch import nn

from alexnet_cli.training.checkpoint import EpochRow
from alexnet_cli.training.stuck import Diagnosis


class Reporter:
    """Who is told how training goes; this one listens and says nothing."""

    def on_start(self, network: nn.Module, history: tuple[EpochRow, ...]) -> None:
        """Before the first update of this process.

        Args:
            network: What will be validated, for uint8 images (N, S, S, 3); it changes in training.
            history: The epochs that are done, in a run that is resumed.
        """

    def on_first_step(self, seconds: float) -> None:
        """After the first update of this process, which also prepares kernels and memory."""

    def on_stuck(self, diagnosis: Diagnosis) -> None:
        """After the first updates, when the loss has not moved from ln(classes)."""

    def on_smaller_pieces(self, micro_batch_size: int) -> None:
        """After memory ran out, before a batch is tried again in pieces of this many images."""

    def on_step(self, epoch: int, images_done: int, images_total: int) -> None:
        """After each update; counts are of the current epoch."""

    def on_look(self, *, loss: float, top1: float, learning_rate: float) -> None:
        """Every few updates: means over the images of the epoch so far, and the current rate."""

    def on_epoch(self, row: EpochRow, *, is_best: bool) -> None:
        """After each validation."""


class Reporters(Reporter):
    """Tells several reporters, in their order."""

    def __init__(self, *reporters: Reporter) -> None:
        self._reporters = reporters

    def on_start(self, network: nn.Module, history: tuple[EpochRow, ...]) -> None:
        """Pass it on."""
        for reporter in self._reporters:
            reporter.on_start(network, history)

    def on_first_step(self, seconds: float) -> None:
        """Pass it on."""
        for reporter in self._reporters:
            reporter.on_first_step(seconds)

    def on_stuck(self, diagnosis: Diagnosis) -> None:
        """Pass it on."""
        for reporter in self._reporters:
            reporter.on_stuck(diagnosis)

    def on_smaller_pieces(self, micro_batch_size: int) -> None:
        """Pass it on."""
        for reporter in self._reporters:
            reporter.on_smaller_pieces(micro_batch_size)

    def on_step(self, epoch: int, images_done: int, images_total: int) -> None:
        """Pass it on."""
        for reporter in self._reporters:
            reporter.on_step(epoch, images_done, images_total)

    def on_look(self, *, loss: float, top1: float, learning_rate: float) -> None:
        """Pass it on."""
        for reporter in self._reporters:
            reporter.on_look(loss=loss, top1=top1, learning_rate=learning_rate)

    def on_epoch(self, row: EpochRow, *, is_best: bool) -> None:
        """Pass it on."""
        for reporter in self._reporters:
            reporter.on_epoch(row, is_best=is_best)
