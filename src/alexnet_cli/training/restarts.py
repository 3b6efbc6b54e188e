"""Finding the run again that several processes had begun when their launcher restarted them."""

import json
import os
from pathlib import Path

from alexnet_cli.runs import RunFolder
from alexnet_cli.training.distributed import Ranks


def launch_record(ranks: Ranks) -> dict[str, str]:
    """Return what `environment.json` says of the launcher of several processes."""
    return {} if ranks.is_alone else {"launch": os.environ.get("TORCHELASTIC_RUN_ID", "")}


def begun_run(ranks: Ranks, parent: Path) -> RunFolder | None:
    """Return the run that these processes began before they were restarted.

    Args:
        ranks: The processes.
        parent: Folder of the run folders.
    """
    if ranks.is_alone or os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
        return None
    record = launch_record(ranks)
    begun = [
        path
        for path in parent.glob("*/environment.json")
        if record.items() <= json.loads(path.read_text()).items()
    ]
    if not begun:
        return None
    return RunFolder(max(begun, key=lambda path: path.stat().st_mtime_ns).parent)
