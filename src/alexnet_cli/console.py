"""Output on the terminal: results go to stdout, everything else to stderr."""

import json
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def stderr_console() -> "Console":
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def stdout_console() -> "Console":
    from rich.console import Console

    return Console(highlight=False)


def printable(text: str) -> str:
    """Escape control characters, which a file name may contain and a terminal would obey."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def note(message: str, *, quiet: bool = False) -> None:
    if not quiet:
        print(printable(message), file=sys.stderr, flush=True)


def print_json(document: Any) -> None:
    print(json.dumps(document, allow_nan=False), flush=True)


def report_error(message: str, hint: str | None, code: str, *, as_json: bool) -> None:
    """Print an error and its hint, for people or for programs."""
    if as_json:
        document = {"error": {"code": code, "message": message, "hint": hint}}
        print(json.dumps(document), file=sys.stderr, flush=True)
        return
    print(f"error: {printable(message)}", file=sys.stderr)
    if hint:
        print(f"hint: {printable(hint)}", file=sys.stderr, flush=True)


class ImageCount:
    """A count of processed images on one line of stderr, if results do not go to that terminal."""

    def __init__(self, *, quiet: bool) -> None:
        self._is_shown = not quiet and sys.stderr.isatty() and not sys.stdout.isatty()
        self._start = self._printed_at = time.monotonic()

    def update(self, num_images: int) -> None:
        """Print the number, a few times a second."""
        now = time.monotonic()
        if self._is_shown and now - self._printed_at >= 0.2:
            self._printed_at = now
            speed = num_images / (now - self._start)
            print(f"\r{num_images:,} images, {speed:,.0f} images/s\033[K", end="", file=sys.stderr)
            sys.stderr.flush()

    def clear(self) -> None:
        """Erase the line, before other output and at the end."""
        if self._is_shown and self._printed_at != self._start:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


class ByteProgress:
    """A progress bar with speed and remaining time on a terminal, silent elsewhere."""

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
        return int(self._progress.tasks[0].total or 0)

    @total.setter
    def total(self, num_bytes: int) -> None:
        self._progress.update(self._task, total=num_bytes)

    def update(self, num_bytes: int) -> None:
        self._progress.advance(self._task, num_bytes)

    def start_at(self, num_bytes: int) -> None:
        """Start with bytes that were there already; they do not count for the speed."""
        self._progress.reset(self._task, completed=num_bytes)

    def close(self) -> None:
        self._progress.stop()
