"""Words for people go to stderr; only results go to stdout."""

import json
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def stderr_console() -> "Console":
    """Return the console for progress and notes."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def stdout_console() -> "Console":
    """Return the console for results."""
    from rich.console import Console

    return Console(highlight=False)


def printable(text: str) -> str:
    """Escape what a terminal would act upon: file names may hold any character."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def note(message: str, *, quiet: bool = False) -> None:
    """Tell the user something beside the result."""
    if not quiet:
        print(printable(message), file=sys.stderr, flush=True)


def print_json(document: Any) -> None:
    """Print a result for programs."""
    print(json.dumps(document, allow_nan=False), flush=True)


def report_error(message: str, hint: str | None, code: str, *, as_json: bool) -> None:
    """Print an error and what helps, for people or for programs."""
    if as_json:
        document = {"error": {"code": code, "message": message, "hint": hint}}
        print(json.dumps(document), file=sys.stderr, flush=True)
        return
    print(f"error: {printable(message)}", file=sys.stderr)
    if hint:
        print(f"hint: {printable(hint)}", file=sys.stderr, flush=True)


class ImageCount:
    """How many images are done, on one line of a terminal that the results do not go to."""

    def __init__(self, *, quiet: bool) -> None:
        self._is_shown = not quiet and sys.stderr.isatty() and not sys.stdout.isatty()
        self._begin = self._told = time.monotonic()

    def update(self, num_images: int) -> None:
        """Show the number, a few times a second."""
        now = time.monotonic()
        if self._is_shown and now - self._told >= 0.2:
            self._told = now
            rate = num_images / (now - self._begin)
            print(f"\r{num_images:,} images, {rate:,.0f} images/s\033[K", end="", file=sys.stderr)
            sys.stderr.flush()

    def clear(self) -> None:
        """Remove the line, for others to be written or at the end."""
        if self._is_shown and self._told != self._begin:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


class ByteProgress:
    """A bar with rate and remaining time on a terminal, silence elsewhere."""

    def __init__(self, description: str, *, total: int, quiet: bool) -> None:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        console = stderr_console()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._task = self._progress.add_task(description, total=total)
        self._progress.start()

    @property
    def total(self) -> int:
        """Bytes expected."""
        return int(self._progress.tasks[0].total or 0)

    @total.setter
    def total(self, num_bytes: int) -> None:
        self._progress.update(self._task, total=num_bytes)

    def update(self, num_bytes: int) -> None:
        """Add bytes."""
        self._progress.advance(self._task, num_bytes)

    def start_at(self, num_bytes: int) -> None:
        """Begin with so many bytes that were there already; they do not count for the rate."""
        self._progress.reset(self._task, completed=num_bytes)

    def close(self) -> None:
        """Remove the bar."""
        self._progress.stop()
