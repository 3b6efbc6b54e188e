"""Progress of training: the events of the loop, and their display on the command line."""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from torch import nn

from alexnet_cli.console import printable, stderr_console
from alexnet_cli.training.checkpoint import EpochRow

if TYPE_CHECKING:
    from rich.console import RenderableType

_MIN_WAIT_SHARE = 0.05  # of an epoch's time; less waiting for data is not printed
_BLOCKS = "▁▂▃▄▅▆▇█"
_MIN_CURVE_WIDTH, _MAX_CURVE_WIDTH = 4, 40  # columns
_MIN_BAR_WIDTH = 12  # columns
_SEPARATOR = "   "
_LONG_SECONDS = 2 * 3600  # of training, from which on a quicker one is named
_LOG_SECONDS = 30.0  # between lines within an epoch, where no bar is shown

Item = TypeVar("Item")


class Reporter:
    """A receiver of the events of a training run; this one ignores them."""

    def on_start(self, model: nn.Module, history: tuple[EpochRow, ...]) -> None:
        """Handle the start of this process: the eval model, and the epochs of a resumed run."""

    def on_step(self, epoch: int, images_done: int, images_total: int) -> None:
        """Handle an update; the counts are of the current epoch."""

    def on_log(self, *, loss: float, top1: float, learning_rate: float) -> None:
        """Handle the means over the current epoch so far, every few updates."""

    def on_epoch(self, row: EpochRow, *, is_best: bool) -> None:
        """Handle the end of an epoch, after its validation."""

    def log(self, text: str) -> None:
        """Print a note."""

    def warn(self, text: str) -> None:
        """Print a warning, also when quiet."""


class TrainingDisplay(Reporter):
    """Progress: a bar on a terminal, elsewhere a line an epoch and one every 30 s.

    `quicker` is a hint at a quicker training, printed where this one takes hours.
    """

    def __init__(self, num_epochs: int, *, quiet: bool, quicker: str = "") -> None:
        self._console, self._num_epochs, self._quiet = stderr_console(), num_epochs, quiet
        self._quicker = quicker
        self._epoch = self._done = self._total = self._first = 0
        self._begin, self._has_estimated = 0.0, False
        self._logged_at = time.perf_counter()
        self._means: tuple[str, ...] = ()  # of this epoch
        self._lr = ""
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

    def on_start(self, model: nn.Module, history: tuple[EpochRow, ...]) -> None:  # noqa: ARG002
        self._history = history  # continues the curve of a resumed run

    def on_step(self, epoch: int, images_done: int, images_total: int) -> None:
        if epoch != self._epoch:
            self._epoch, self._begin, self._first = epoch, time.perf_counter(), images_done
            self._means = ()
        self._done, self._total = images_done, images_total

    def on_log(self, *, loss: float, top1: float, learning_rate: float) -> None:
        self._means = (f"loss {loss:.3f}", f"acc {top1:.1%}")
        self._lr = f"lr {learning_rate:.2g}"
        speed = self._images_per_second()
        if not speed or self._done == self._total:
            return
        if not self._has_estimated:
            self._log_estimate(speed)
        elif not self._live and time.perf_counter() - self._logged_at >= _LOG_SECONDS:
            done = f"epoch {self._epoch}/{self._num_epochs}  {self._done / self._total:.0%}"
            left = f"{speed:,.0f} images/s  {duration(self._seconds_left(speed))} left"
            self.log("  ".join((done, self._lr, *self._means, left)))

    def on_epoch(self, row: EpochRow, *, is_best: bool) -> None:
        self._history = (*self._history, row)
        width, share = len(str(self._num_epochs)), row.data_wait_share
        wait = f"  waiting for data {share:.0%}" if share >= _MIN_WAIT_SHARE else ""
        self.log(
            f"epoch {row.epoch:>{width}}/{self._num_epochs}  lr {row.learning_rate:.2g}  "
            f"loss {row.train_loss:.3f}  acc {row.train_top1:6.2%}  "
            f"val loss {row.val_loss:.3f}  val acc {row.val_top1:6.2%}  "
            f"{row.images_per_second:,.0f} images/s  {row.train_seconds + row.val_seconds:.1f} s"
            f"{wait}{'  best' if is_best else ''}"
        )
        speed = self._images_per_second()
        if speed and not self._has_estimated and row.epoch < self._num_epochs:
            self._log_estimate(speed)  # an epoch of fewer updates than `on_log` waits for

    def _log_estimate(self, speed: float) -> None:
        self._has_estimated = True
        seconds = self._seconds_left(speed)
        epoch, rest = duration(self._total / speed), duration(seconds)
        self.log(f"about {speed:,.0f} images/s: {epoch} an epoch, {rest} to the end")
        if self._quicker and seconds > _LONG_SECONDS:
            self.log(f"hint: {self._quicker}")

    def log(self, text: str) -> None:
        self._logged_at = time.perf_counter()
        if not self._quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        self._console.print(printable(text), soft_wrap=True, markup=False)

    def _render(self) -> "RenderableType":
        if not self._total:
            return Text("starting")
        speed = self._images_per_second()
        bar = Table.grid(expand=True, padding=(0, 1))
        bar.add_column(no_wrap=True)
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True, justify="right")
        name = f"epoch {self._epoch}/{self._num_epochs}"
        progress = ProgressBar(total=self._total, completed=self._done)
        bar.add_row(name, progress, self._counts(self._console.width - len(name), speed))
        return Group(bar, Text(self._figures(speed), no_wrap=True, overflow="ellipsis"))

    def _counts(self, width: int, speed: float) -> str:
        """Return the text behind the bar: as much as leaves room for the bar."""
        share = f"{self._done / self._total:.0%}"
        images = f"{speed:,.0f} images/s" if speed else ""
        counts = f"{self._done:,}/{self._total:,}"
        for parts in ((self._lr, counts, images), (counts, images), (share, images)):
            text = "  ".join(filter(None, parts))
            if len(text) + _MIN_BAR_WIDTH <= width:
                return text
        return share

    def _figures(self, speed: float) -> str:
        """Return the most important figures first; what does not fit is cut."""
        parts = [*([f"{duration(self._seconds_left(speed))} left"] if speed else []), *self._means]
        if self._history:
            last, best = self._history[-1].val_top1, max(row.val_top1 for row in self._history)
            figures = f"{last:.1%}, best {best:.1%}"
            width = self._console.width - len(_SEPARATOR.join([*parts, f"val acc  {figures}"]))
            parts.append(f"val acc {self._curve(width)}{figures}")
        while len(parts) > 1 and len(_SEPARATOR.join(parts)) > self._console.width:
            parts.pop()
        return _SEPARATOR.join(parts)

    def _curve(self, width: int) -> str:
        if width < _MIN_CURVE_WIDTH or self._console.options.ascii_only:
            return ""
        accuracies = [row.val_top1 for row in self._history]
        return sparkline(accuracies[-min(width, _MAX_CURVE_WIDTH) :]) + " "

    def _images_per_second(self) -> float:
        seconds = time.perf_counter() - self._begin
        return (self._done - self._first) / seconds if seconds > 0 else 0.0

    def _seconds_left(self, speed: float) -> float:
        later_epochs = self._num_epochs - self._epoch
        num_images = self._total - self._done + later_epochs * self._total
        validation = self._history[-1].val_seconds if self._history else 0.0
        return num_images / speed + validation * (later_epochs + 1)


def sparkline(values: list[float]) -> str:
    """Draw numbers as bars of eight heights, scaled from the least to the greatest."""
    least = min(values)
    spread = max(values) - least or 1.0
    return "".join(_BLOCKS[round((value - least) / spread * 7)] for value in values)


def duration(seconds: float) -> str:
    """Write a time in hours, minutes and seconds as 2:05:09, 5:09 or 0:09."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class TimedIterator(Generic[Item]):
    """An iterator that measures the time since the last restart, and how much was waiting.

    On CUDA this is the time of the host: queued work of the device does not count.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = iter(items)
        self.restart()

    def restart(self) -> None:
        self._begin, self.wait_seconds = time.perf_counter(), 0.0

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._begin

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        begin = time.perf_counter()
        try:
            return next(self._items)
        finally:
            self.wait_seconds += time.perf_counter() - begin
