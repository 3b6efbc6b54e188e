"""A child process that reads files, so that what a damaged one does to it can be told."""

import collections
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

LONGEST_SECONDS = 5.0
_GIVE_UP_SECONDS = 60.0  # a busy machine is slow, a hang lasts


class FileReader:
    """Has files read one by one, and keeps count.

    Attributes:
        counts: Files by what became of them: `read` or `refused`; anything else is a failure.
        slowest_seconds: The longest that a file took.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.counts: collections.Counter[str] = collections.Counter()
        self.slowest_seconds = 0.0
        self._child = self._start()

    def _start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.read_files", self._kind],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.communicate()

    def read(self, path: Path) -> str:
        """Have a file read, and return what became of it."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        begin = time.perf_counter()
        self._child.stdin.write(f"{path}\n")
        self._child.stdin.flush()
        is_there, _, _ = select.select([self._child.stdout], [], [], _GIVE_UP_SECONDS)
        outcome = self._child.stdout.readline().strip() if is_there else "hang"
        if outcome not in ("read", "refused"):
            self._child.kill() if outcome == "hang" else None
            _, words = self._child.communicate()
            status = self._child.returncode
            outcome = f"{outcome or 'died'}, status {status}: {words[-300:]}"
            self._child = self._start()
        self.slowest_seconds = max(self.slowest_seconds, time.perf_counter() - begin)
        self.counts[outcome] += 1
        return outcome

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {what}" for what, count in self.counts.items())
        return f"{counts}; the slowest took {self.slowest_seconds:.2f} s"
