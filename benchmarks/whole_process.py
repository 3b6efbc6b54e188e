"""Time, processor time and peak memory of a command, from the start of its process to the end.

A small process starts the command: a child inherits the peak memory of its parent, and the
benchmarks have loaded PyTorch. Linux only, for the memory.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.family import together_mb

_ROOT = Path(__file__).resolve().parents[1]
_SAMPLE_SECONDS = 0.02


class Usage(NamedTuple):
    """The resources that a command used."""

    wall_seconds: float
    processor_seconds: float  # in user and system mode, of the process and its children
    peak_mb: float  # of the largest of them; with `sample`, of all together


def measure(
    command: Sequence[str | Path], environment: Mapping[str, str], *, sample: bool = False
) -> Usage:
    """Run a command in the repository's root; its stdout is discarded.

    Args:
        command: Program and arguments.
        environment: Its environment variables.
        sample: Sample the memory of the process and its children together every fiftieth of a
            second, which takes some of their time.

    Raises:
        RuntimeError: The command failed; the message ends with its stderr.
    """
    starter = [sys.executable, "-S", "-m", "benchmarks.whole_process", str(int(sample))]
    with tempfile.TemporaryFile() as errors:
        result = subprocess.run(
            [*starter, *map(str, command)], cwd=_ROOT, env=dict(environment),
            stdout=subprocess.PIPE, stderr=errors, check=False,
        )  # fmt: skip
        if result.returncode:
            errors.seek(0)
            text = errors.read()[-2_000:].decode(errors="replace")
            raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{text}")
    return Usage(*json.loads(result.stdout))


def _main() -> None:
    sample, command = sys.argv[1] == "1", sys.argv[2:]
    nowhere, peak_mb = os.open(os.devnull, os.O_RDWR), 0.0
    begin = time.perf_counter()
    pid = os.posix_spawnp(
        command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, nowhere, 1)]
    )
    while sample and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        peak_mb = max(peak_mb, together_mb(pid))
        time.sleep(_SAMPLE_SECONDS)
    _, status, usage = os.wait4(pid, 0)
    wall_seconds = time.perf_counter() - begin
    peak_mb = max(peak_mb, usage.ru_maxrss * 1024 / 1e6)
    print(json.dumps([wall_seconds, usage.ru_utime + usage.ru_stime, peak_mb]))
    sys.exit(os.waitstatus_to_exitcode(status) != 0)


if __name__ == "__main__":
    _main()
