"""Output on the terminal: results go to stdout, everything else to stderr.

On a terminal there are colours (NO_COLOR, FORCE_COLOR) and tables with lines; in a pipe plain text.
"""

import io
import json
import os
import re
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TextIO, cast

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console
    from rich.table import Table

# User, password and query of an address: tokens are in all three.
_SECRETS = re.compile(r"(?<=://)([^/\s?#]*@)?([^\s?#]*)(\?[\w%][^\s#'\")]*)?")
_COMPUTED = ("=", "+", "-", "@")  # at the beginning of a cell that a spreadsheet computes
_PIPE_WIDTH = 10_000  # columns: nothing is cut or wrapped in a pipe


class _Notes:
    """Standard error that goes quiet when its reader has left: notes must not end a training."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            drop_output(self._stream)
        return len(text)

    def flush(self) -> None:
        """Do nothing: each write is flushed."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def drop_output(*streams: TextIO) -> None:
    """Send what streams still hold, and get later, to the null device: nobody can receive it."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nothing, stream.fileno())
    os.close(nothing)


def prepare_streams() -> None:
    """Let a process read and write whatever it was started with, a closed stream or odd encoding.

    A closed stream becomes the null device; otherwise the next file to be opened would have its
    number, and get what is printed. File names that are not text are printed with escapes.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            nothing = os.open(os.devnull, os.O_RDWR)
            if nothing != number:
                os.dup2(nothing, number)
                os.close(nothing)
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.stderr = cast("TextIO", _Notes(sys.stderr))


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


def hide_secrets(text: str) -> str:
    """Return text whose addresses have no user, no password and no query."""
    return _SECRETS.sub(lambda found: found[2] + ("?…" if found[3] else ""), text)


def csv_row(cells: Iterable[Any]) -> list[Any]:
    """Return the cells of a CSV row as a terminal and a spreadsheet may show them.

    Control characters are escaped. Text that a spreadsheet would compute has an apostrophe in
    front: https://owasp.org/www-community/attacks/CSV_Injection
    """
    texts = (printable(cell) if isinstance(cell, str) else cell for cell in cells)
    return [
        f"'{text}" if isinstance(text, str) and text.startswith(_COMPUTED) else text
        for text in texts
    ]


def counted(number: int, noun: str) -> str:
    """Return `1 image`, `2 images` or `2,000 images`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def note(message: str, *, quiet: bool = False) -> None:
    if not quiet:
        print(printable(hide_secrets(message)), file=sys.stderr, flush=True)


def suggest(*commands: str, quiet: bool = False) -> None:
    """Print the commands that make sense next, a line each."""
    if not quiet:
        dim, end = ("\033[2m", "\033[0m") if has_colour(sys.stderr) else ("", "")
        lines = "".join(f"\n  {printable(command)}" for command in commands)
        print(f"{dim}next:{lines}{end}", file=sys.stderr, flush=True)


def print_path(path: "Path") -> None:
    """Print a path that is a result: as it is for programs, escaped on a terminal."""
    print(printable(str(path)) if sys.stdout.isatty() else path)


def print_json(document: Any) -> None:
    print(json.dumps(document, allow_nan=False), flush=True)


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Collection[str] = (),
    title: str = "",
    caption: str = "",
) -> None:
    """Print a table of text.

    `right` names the columns that are aligned to the right.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), caption=Text(caption))
    for name in columns:
        justify: Literal["left", "right"] = "right" if name in right else "left"
        table.add_column(name, justify=justify, no_wrap=name in right, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    print_rich_table(table)


def print_rich_table(table: "Table") -> None:
    """Print a table: with lines on a terminal, as plain columns of any width in a pipe."""
    from rich.console import Console
    from rich.text import Text

    console = stdout_console()
    if console.is_terminal:
        console.print(table)
        return
    title, caption = (
        Text.from_markup(text).plain if isinstance(text, str) else str(text or "")
        for text in (table.title, table.caption)
    )
    table.title = table.caption = table.box = None
    table.pad_edge = False
    text = io.StringIO()
    Console(file=text, width=_PIPE_WIDTH, highlight=False).print(table)
    for line in filter(None, (title, *text.getvalue().splitlines(), caption)):
        print(line.rstrip())


def report_error(message: str, hint: str | None, code: str, *, as_json: bool) -> None:
    message, hint = hide_secrets(message), hide_secrets(hint) if hint else hint
    if as_json:
        document = {"error": {"code": code, "message": message, "hint": hint}}
        print(json.dumps(document), file=sys.stderr, flush=True)
        return
    red, dim, end = ("\033[1;31m", "\033[2m", "\033[0m") if has_colour(sys.stderr) else ("",) * 3
    label = "" if code == "interrupted" else f"{red}error:{end} "  # Ctrl-C is not a failure
    print(f"{label}{printable(message)}", file=sys.stderr)
    if hint:
        print(f"{dim}hint: {printable(hint)}{end}", file=sys.stderr, flush=True)


def has_colour(stream: TextIO) -> bool:
    """Return True where colours are wanted, by the rule of rich: no-color.org, force-color.org."""
    if os.environ.get("NO_COLOR"):
        return False
    is_terminal = stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
    return is_terminal or bool(os.environ.get("FORCE_COLOR"))


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
