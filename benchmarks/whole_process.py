"""What a command takes as a whole process: time, processor time, and the peak of its memory.

The command is started by a small process of its own: a child begins with the peak of who starts it,
and the benchmarks have PyTorch loaded. Linux only, for the memory.
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
    """What one run took.

    Attributes:
        wall_seconds: From its start to its end.
        processor_seconds: In user and system mode, of it and of the processes it started.
        peak_mb: Of it or of the largest of them by itself; with `sample`, of all together.
    """

    wall_seconds: float
    processor_seconds: float
    peak_mb: float


def measure(
    command: Sequence[str | Path], environment: Mapping[str, str], *, sample: bool = False
) -> Usage:
    """Run a command in the repository's root; what it prints on stdout goes nowhere.

    Args:
        command: Program and arguments.
        environment: All of its environment.
        sample: Look every fiftieth of a second at the memory of the process and its children
            together, which takes some time of theirs.

    Raises:
        RuntimeError: It failed; with the end of what it said.
    """
    starter = [sys.executable, "-S", "-m", "benchmarks.whole_process", str(int(sample))]
    with tempfile.TemporaryFile() as words:
        result = subprocess.run(
            [*starter, *map(str, command)], cwd=_ROOT, env=dict(environment),
            stdout=subprocess.PIPE, stderr=words, check=False,
        )  # fmt: skip
        if result.returncode:
            words.seek(0)
            said = words.read()[-2_000:].decode(errors="replace")
            raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{said}")
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
