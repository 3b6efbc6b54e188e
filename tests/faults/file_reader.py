"""A child process that reads files, so that what a damaged one does to it can be told."""

import collections
import select
import subprocess
import sys
import tempfile
from pathlib import Path

LONGEST_SECONDS = 5.0
_GIVE_UP_SECONDS = 100.0  # a busy machine is slow, a hang lasts


class FileReader:
    def __init__(self, kind):
        self._kind = kind
        self.counts = collections.Counter()  # by outcome: anything but read or refused is a failure
        self.slowest_seconds = 0.0  # the most processor time of a file; a busy machine adds none
        # Not a pipe, which, with nobody to empty it, stops who writes.
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._child = self._start()

    def _start(self):
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.read_files", self._kind],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._words,
            bufsize=0,  # what a buffer holds already, select does not see
        )  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        return child

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._child.communicate()
        self._words.close()

    def read(self, paths):
        """Have files read one after another, and return what became of each.

        Many at a time cost little: the two processes then seldom wait to be woken. Their names
        must fit into a pipe, so no more than a few hundred.
        """
        outcomes: list[str] = []
        while len(outcomes) < len(paths):
            outcomes += self._read_until_it_dies(paths[len(outcomes) :])
        self.counts.update(outcomes)
        return outcomes

    def _read_until_it_dies(self, paths):
        assert self._child.stdin is not None
        self._child.stdin.write("".join(f"{path}\n" for path in paths).encode())
        outcomes = []
        for path in paths:
            outcomes.append(self._next_outcome(path))
            if outcomes[-1] not in ("read", "refused"):
                self._child = self._start()
                break
        return outcomes

    def _next_outcome(self, path):
        assert self._child.stdout is not None
        is_there, _, _ = select.select([self._child.stdout], [], [], _GIVE_UP_SECONDS)
        reply = self._child.stdout.readline().decode() if is_there else "hang"
        outcome, _, seconds = reply.partition(" ")
        if outcome in ("read", "refused"):
            self.slowest_seconds = max(self.slowest_seconds, float(seconds))
            return outcome
        self._child.kill() if outcome == "hang" else None
        self._child.communicate()
        self._words.seek(0)
        words = self._words.read()[-300:].decode(errors="replace")
        return f"{path.name} {outcome or 'died'}, status {self._child.returncode}: {words}"

    def __str__(self):
        counts = ", ".join(f"{count:,} {what}" for what, count in self.counts.items())
        return f"{counts}; the slowest took {self.slowest_seconds:.2f} s"
