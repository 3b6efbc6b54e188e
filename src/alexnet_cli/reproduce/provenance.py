"""Where a result comes from: code, versions, hardware."""

import datetime
import json
import subprocess
from pathlib import Path

from alexnet_cli.devices import cpu_facts
from alexnet_cli.reproduce.result import Provenance
from alexnet_cli.runs import RunFolder
from alexnet_cli.training.retention import newest_checkpoint

_SOURCE = Path(__file__).resolve().parent


def provenance_of(run: RunFolder, *, runs_at_once: int) -> Provenance:
    """Return the provenance of a finished run: this commit, and what its folder has recorded.

    Args:
        run: The run.
        runs_at_once: Runs that shared the machine.
    """
    began = json.loads(run.environment.read_text())
    ended = newest_checkpoint(run.checkpoints).environment
    is_other = began["device"] != ended["device"]
    return Provenance(
        commit=commit(),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        cpu=cpu_facts().get("model name", "not known"),
        device=ended["device"],
        began_on=began["device"] if is_other else "",
        precision=ended["precision"],
        lrn=ended["lrn"],
        platform=began["platform"],
        images=ended["images"],
        versions=began["versions"],
        runs_at_once=runs_at_once,
    )


def commit() -> str:
    """Return the commit of a checkout that the program runs from, "" outside of one.

    One whose source has changed since is marked.
    """
    head = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--untracked-files=no", "--", str(_SOURCE.parent))
    return f"{head}-changed" if head and changes else head


def _git(*arguments: str) -> str:
    try:
        result = subprocess.run(  # noqa: S603 - fixed words
            ["git", *arguments],  # noqa: S607 - the one on the PATH
            cwd=_SOURCE,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return result.stdout.strip()
