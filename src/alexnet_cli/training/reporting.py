"""Who is told how training goes.

How training shows on the screen: live on a terminal, one line an epoch elsewhere.
"""

import time
from functools import partial
from typing import TYPE_CHECKING, Self

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from torch import nn

from alexnet_cli.console import stderr_console
from alexnet_cli.training.checkpoint import EpochRow
from alexnet_cli.training.dead_start import DeadStart

if TYPE_CHECKING:
    from rich.console import RenderableType


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

    def on_stuck(self, diagnosis: DeadStart) -> None:
        """After the first updates, when the loss has not moved from ln(classes)."""

    def on_smaller_pieces(self, micro_batch_size: int) -> None:
        """After memory ran out, before a batch is tried again in pieces of this many images."""

    def on_step(self, epoch: int, images_done: int, images_total: int) -> None:
        """After each update; counts are of the current epoch."""

    def on_log(self, *, loss: float, top1: float, learning_rate: float) -> None:
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

    def on_stuck(self, diagnosis: DeadStart) -> None:
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

    def on_log(self, *, loss: float, top1: float, learning_rate: float) -> None:
        """Pass it on."""
        for reporter in self._reporters:
            reporter.on_log(loss=loss, top1=top1, learning_rate=learning_rate)

    def on_epoch(self, row: EpochRow, *, is_best: bool) -> None:
        """Pass it on."""
        for reporter in self._reporters:
            reporter.on_epoch(row, is_best=is_best)


_WAIT_SHOWN = 0.05  # of an epoch's time; less is not worth a word
_BLOCKS = "▁▂▃▄▅▆▇█"
_CURVE_WIDTH = (4, 40)  # columns, at least and at most
_LEAST_BAR = 12  # columns
_BETWEEN = "   "


class TrainingDisplay(Reporter):
    """Shows it on the command line.

    Args:
        num_epochs: Epochs of the run.
        quiet: Show nothing.
    """

    def __init__(self, num_epochs: int, *, quiet: bool) -> None:
        self._console, self._num_epochs, self._quiet = stderr_console(), num_epochs, quiet
        self._epoch = self._done = self._total = self._first = 0
        self._begin, self._has_estimated = 0.0, False
        self._means: tuple[str, ...] = ()  # of this epoch
        self._rate = ""
        self._history: tuple[EpochRow, ...] = ()
        is_live = not quiet and self._console.is_terminal
        self._live = (
            Live(console=self._console, get_renderable=self._render, transient=True)
            if is_live
            else None
        )

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        if self._live:
            self._live.stop()

    def on_start(
        self,
        network: "nn.Module",  # noqa: ARG002 - a curve needs none
        history: "tuple[EpochRow, ...]",
    ) -> None:
        """Take over the curve of a run that is resumed."""
        self._history = history

    def on_first_step(self, seconds: float) -> None:
        """Say how long the first update took: it is not the speed of the others."""
        if not self._quiet:
            self._console.print(f"first update after {seconds:.1f} s", soft_wrap=True)

    def on_stuck(self, diagnosis: "DeadStart") -> None:
        """Say that nothing was learned and what helps; also when quiet."""
        print_line = partial(self._console.print, soft_wrap=True, markup=False)
        print_line(
            f"warning: nothing learned in {diagnosis.num_updates} updates: the loss, "
            f"{diagnosis.loss:.3f}, is where chance has it, ln(classes) = {diagnosis.chance:.3f}; "
            f"a logit varies by {diagnosis.logit_spread:.1e} from image to image"
        )
        for layer in diagnosis.layers:
            dead = "" if layer.dead_share is None else f"  dead ReLUs {layer.dead_share:4.0%}"
            print_line(f"  {layer.name:<14} gradient {layer.gradient_norm:8.1e}{dead}")
        print_line(f"hint: start again with {diagnosis.cure}")

    def on_smaller_pieces(self, micro_batch_size: int) -> None:
        """Say that memory ran out, and how training goes on; also when quiet."""
        self._console.print(
            f"warning: not enough memory; going on with {micro_batch_size} images at a time, "
            "their gradients summed to the batch's",
            soft_wrap=True,
        )

    def on_step(self, epoch: int, images_done: int, images_total: int) -> None:
        """Move the bar."""
        if epoch != self._epoch:
            self._epoch, self._begin, self._first = epoch, time.perf_counter(), images_done
            self._means = ()
        self._done, self._total = images_done, images_total

    def on_log(self, *, loss: float, top1: float, learning_rate: float) -> None:
        """Show the means so far, and once the time that the run will take at this speed."""
        self._means = (f"loss {loss:.3f}", f"top-1 {top1:.1%}")
        self._rate = f"rate {learning_rate:.2g}"
        speed = self._images_per_second()
        if self._has_estimated or self._quiet or not speed or self._done == self._total:
            return
        self._has_estimated = True
        epoch = duration(self._total / speed)
        rest = duration(self._seconds_left(speed))
        self._console.print(
            f"about {speed:,.0f} images/s: {epoch} an epoch, {rest} to the end", soft_wrap=True
        )

    def on_epoch(self, row: "EpochRow", *, is_best: bool) -> None:
        """Print the epoch's line."""
        self._history = (*self._history, row)
        if self._quiet:
            return
        width = len(str(self._num_epochs))
        share = row.data_wait_share
        wait = f"  waiting for data {share:.0%}" if share >= _WAIT_SHOWN else ""
        line = (
            f"epoch {row.epoch:>{width}}/{self._num_epochs}  rate {row.learning_rate:.2g}  "
            f"train loss {row.train_loss:.3f}  top-1 {row.train_top1:6.2%}  "
            f"val loss {row.val_loss:.3f}  top-1 {row.val_top1:6.2%}  "
            f"{row.images_per_second:,.0f} images/s  {row.train_seconds + row.val_seconds:.1f} s"
            f"{wait}{'  best' if is_best else ''}"
        )
        self._console.print(line, soft_wrap=True)

    def _render(self) -> "RenderableType":
        """Return the two live lines: the epoch's bar, and the figures."""
        if not self._total:
            return Text("starting")
        speed = self._images_per_second()
        bar = Table.grid(expand=True, padding=(0, 1))
        bar.add_column(no_wrap=True)
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True, justify="right")
        name = f"epoch {self._epoch}/{self._num_epochs}"
        progress = ProgressBar(total=self._total, completed=self._done)
        bar.add_row(name, progress, self._tail(self._console.width - len(name), speed))
        return Group(bar, Text(self._figures(speed), no_wrap=True, overflow="ellipsis"))

    def _tail(self, width: int, speed: float) -> str:
        """Return what stands behind the bar: as much as leaves room for it."""
        share = f"{self._done / self._total:.0%}"
        images = f"{speed:,.0f} images/s" if speed else ""
        counts = f"{self._done:,}/{self._total:,}"
        for parts in ((self._rate, counts, images), (counts, images), (share, images)):
            tail = "  ".join(filter(None, parts))
            if len(tail) + _LEAST_BAR <= width:
                return tail
        return share

    def _figures(self, speed: float) -> str:
        """Join the figures, the most important first; what does not fit is left out."""
        parts = [*([f"{duration(self._seconds_left(speed))} left"] if speed else []), *self._means]
        if self._history:
            last, best = self._history[-1].val_top1, max(row.val_top1 for row in self._history)
            words = f"{last:.1%}, best {best:.1%}"
            curve = self._curve(self._console.width - len(_BETWEEN.join([*parts, f"val  {words}"])))
            parts.append(f"val {curve} {words}")
        while len(parts) > 1 and len(_BETWEEN.join(parts)) > self._console.width:
            parts.pop()
        return _BETWEEN.join(parts)

    def _curve(self, width: int) -> str:
        least, most = _CURVE_WIDTH
        if width < least or self._console.options.ascii_only:
            return "top-1"
        return sparkline([row.val_top1 for row in self._history][-min(width, most) :])

    def _images_per_second(self) -> float:
        seconds = time.perf_counter() - self._begin
        return (self._done - self._first) / seconds if seconds > 0 else 0.0

    def _seconds_left(self, speed: float) -> float:
        """Return how long the rest of the run will take, at this epoch's speed."""
        later_epochs = self._num_epochs - self._epoch
        num_images = self._total - self._done + later_epochs * self._total
        validation = self._history[-1].val_seconds if self._history else 0.0
        return num_images / speed + validation * (later_epochs + 1)


def sparkline(values: list[float]) -> str:
    """Draw numbers as bars of eight heights, from the least to the most of them."""
    least = min(values)
    spread = max(values) - least or 1.0
    return "".join(_BLOCKS[round((value - least) / spread * 7)] for value in values)


def duration(seconds: float) -> str:
    """Write a time in hours, minutes and seconds as 2:05:09, 5:09 or 0:09."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
