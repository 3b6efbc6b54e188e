"""Where a result comes from: code, versions, hardware."""

import datetime
import json
import shlex
from typing import Any

from alexnet_cli.errors import CheckpointError, TrainingError
from alexnet_cli.reproduce.result import Provenance
from alexnet_cli.runs import RunFolder
from alexnet_cli.training.records import commit
from alexnet_cli.training.retention import newest_checkpoint

_NEEDED = {"commit", "cpu", "device", "images", "lrn", "platform", "precision", "versions"}


def provenance_of(run: RunFolder, *, runs_at_once: int) -> Provenance:
    """Return the provenance of a finished run, as its folder has recorded it.

    Args:
        run: The run.
        runs_at_once: Runs that shared the machine in the end.

    Raises:
        TrainingError: What the folder recorded is damaged.
    """
    began, now = _read_environment(run), commit()
    versions = began["versions"]
    try:
        ended = newest_checkpoint(run.checkpoints).environment
    except CheckpointError:  # it diverged before anything was saved
        ended = began
    return Provenance(
        commit=began["commit"],
        ended_with=now if now != began["commit"] else "",
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        cpu=began["cpu"],
        device=ended["device"],
        began_on=began["device"] if began["device"] != ended["device"] else "",
        precision=ended["precision"],
        lrn=ended["lrn"],
        platform=began["platform"],
        images=ended["images"],
        versions={name: _through(each, ended.get(name)) for name, each in versions.items()},
        runs_at_once=runs_at_once,
    )


def _read_environment(run: RunFolder) -> dict[str, Any]:
    try:
        began = json.loads(run.environment.read_bytes())
        if began.keys() >= _NEEDED and isinstance(began["versions"], dict):
            return dict(began)
    except (OSError, ValueError, AttributeError):
        pass
    path = shlex.quote(str(run.path))
    raise TrainingError(
        f"{run.environment} is damaged: where the run comes from is not known any more",
        hint=f"move the run away, to begin it anew: mv {path} {path}-old",
        code="environment_damaged",
    )


def _through(began_with: str, ended_with: str | None) -> str:
    """Return a version, or both where the run went on with another.

    The name of the build, as in `2.14.1+cu130`, is only known of the end.
    """
    is_one = ended_with is None or ended_with.partition("+")[0] == began_with.partition("+")[0]
    return began_with if is_one else f"{began_with}, then {ended_with}"
