"""How training shows on the screen: a live bar on a terminal, one line an epoch elsewhere."""

import time
from functools import partial
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from alexnet_cli.cli.console import stderr_console
from alexnet_cli.training.job import Reporter

if TYPE_CHECKING:
    from alexnet_cli.training.checkpoint import EpochRow
    from alexnet_cli.training.stuck import Diagnosis

_WAIT_SHOWN = 0.05  # of an epoch's time; less is not worth a word


class TrainingDisplay(Reporter):
    """Shows it on the command line.

    Args:
        num_epochs: Epochs of the run.
        quiet: Show nothing.
    """

    def __init__(self, num_epochs: int, *, quiet: bool) -> None:
        self._console, self._num_epochs, self._quiet = stderr_console(), num_epochs, quiet
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:.0f} images/s"),
            TimeRemainingColumn(),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task("starting", total=None, rate=0.0)
        self._epoch, self._begin, self._first = 0, 0.0, 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        self._progress.stop()

    def on_first_step(self, seconds: float) -> None:
        """Say how long the first update took: it is not the speed of the others."""
        if not self._quiet:
            self._console.print(f"first update after {seconds:.1f} s", soft_wrap=True)

    def on_stuck(self, diagnosis: "Diagnosis") -> None:
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
            self._progress.reset(
                self._task, total=images_total, description=f"epoch {epoch}/{self._num_epochs}"
            )
        seconds = time.perf_counter() - self._begin
        rate = (images_done - self._first) / seconds if seconds > 0 else 0.0
        self._progress.update(self._task, completed=images_done, rate=rate)

    def on_epoch(self, row: "EpochRow", *, is_best: bool) -> None:
        """Print the epoch's line."""
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
