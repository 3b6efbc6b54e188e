"""Where a result comes from: code, versions, hardware."""

import datetime
import json
import subprocess
from pathlib import Path
from typing import Any

from alexnet_cli.devices import cpu_facts
from alexnet_cli.runs import RunFolder

_SOURCE = Path(__file__).resolve().parent


def provenance_of(run: RunFolder) -> dict[str, Any]:
    """Return the provenance of a finished run: this commit, and what its folder has recorded."""
    environment = json.loads(run.environment.read_text())
    return {
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": cpu_facts().get("model name", "not known"),
        **{key: environment[key] for key in ("device", "precision", "lrn", "platform", "images")},
        "versions": environment["versions"],
    }


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
