"""Memory of a process and its descendants, from Linux's `/proc`."""

import contextlib
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]


def run_sampled(command: Sequence[str], *, every_seconds: float) -> tuple[str, float]:
    """Run a command in the repository's root; return its stdout and the peak of its memory in MB.

    Raises:
        RuntimeError: The command failed.
    """
    process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True)
    peak_mb = 0.0
    while process.poll() is None:
        peak_mb = max(peak_mb, together_mb(process.pid))
        time.sleep(every_seconds)
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return output, peak_mb


def members(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += members(int(child))
    return found


def together_mb(pid: int) -> float:
    """Return the memory of a process and its descendants in MB, shared pages counted once.

    Libraries are those of the main process: their `Pss` is shared with the measuring process too.
    """
    own = sum(
        kibibytes(Path(f"/proc/{member}/smaps_rollup"), field)
        for member in members(pid)
        for field in ("Pss_Anon", "Pss_Shmem")
    )
    return (own + kibibytes(Path(f"/proc/{pid}/status"), "RssFile")) * 1024 / 1e6


def kibibytes(path: Path, field: str) -> int:
    """Return a field of a file in `/proc`, 0 if it is missing."""
    try:
        found = re.search(rf"^{field}:\s+(\d+) kB", path.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:  # the process has just ended
        return 0
    return int(found[1]) if found else 0
