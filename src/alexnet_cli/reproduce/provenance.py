"""Where a result comes from: code, versions, hardware."""

import datetime
import json

from alexnet_cli.errors import CheckpointError
from alexnet_cli.reproduce.result import Provenance
from alexnet_cli.runs import RunFolder
from alexnet_cli.training.records import commit
from alexnet_cli.training.retention import newest_checkpoint


def provenance_of(run: RunFolder, *, runs_at_once: int) -> Provenance:
    """Return the provenance of a finished run, as its folder has recorded it.

    Args:
        run: The run.
        runs_at_once: Runs that shared the machine.
    """
    began, now = json.loads(run.environment.read_text()), commit()
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
        versions=began["versions"],
        runs_at_once=runs_at_once,
    )
