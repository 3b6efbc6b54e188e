"""Memory of a process and of those it started, from Linux's `/proc`."""

import contextlib
import re
from pathlib import Path


def members(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += members(int(child))
    return found


def together_mb(pid: int) -> float:
    """Return what a process and its descendants hold now, in MB.

    Memory of their own and what they share (the kernel splits it between them), and the libraries
    of the main process. Not the libraries' `Pss`: these are shared with the measuring process too.
    """
    own = sum(
        kibibytes(Path(f"/proc/{member}/smaps_rollup"), field)
        for member in members(pid)
        for field in ("Pss_Anon", "Pss_Shmem")
    )
    return (own + kibibytes(Path(f"/proc/{pid}/status"), "RssFile")) * 1024 / 1e6


def kibibytes(path: Path, field: str) -> int:
    """Return a field of a file in `/proc`, 0 where there is none."""
    try:
        found = re.search(rf"^{field}:\s+(\d+) kB", path.read_text(), re.MULTILINE)
    except OSError:  # the process has just ended
        return 0
    return int(found[1]) if found else 0
