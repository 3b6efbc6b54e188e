"""The provenance of a run: code, versions and hardware, as its folder records them."""

import datetime
import json
import shlex
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from alexnet_cli.errors import CheckpointError, TrainingError
from alexnet_cli.runs import RunFolder
from alexnet_cli.training.run_files import commit
from alexnet_cli.training.saving import newest_checkpoint

_RECORDED = {"commit", "cpu", "device", "images", "lrn", "platform", "precision", "versions"}


class Record(BaseModel):
    """Plain data of a result file; fields of later versions are ignored."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", allow_inf_nan=False, populate_by_name=True
    )


class RunProvenance(Record):
    """Code, versions and hardware of a run.

    Attributes:
        commit: Commit of the checkout in which the run began; "" outside a checkout.
        ended_with: Commit in which it was tested, if another.
        date: Date of the test.
        began_on: Device on which it began, if it ended on another.
        lrn: Implementation of local response normalisation.
        images: Fingerprint of the train/validation split.
        runs_at_once: Runs that shared the machine at the end.
    """

    commit: str
    ended_with: str
    date: str
    cpu: str
    device: str
    began_on: str
    precision: str
    lrn: str
    platform: str
    images: str
    versions: Mapping[str, str]
    runs_at_once: int


def provenance_of(run: RunFolder, *, runs_at_once: int) -> RunProvenance:
    """Return the provenance of a finished run from its folder.

    Args:
        run: The run folder.
        runs_at_once: Runs that shared the machine at the end.

    Raises:
        TrainingError: The record in the folder is damaged.
    """
    began, now = _read_environment(run), commit()
    try:
        ended = newest_checkpoint(run.checkpoints).environment
    except CheckpointError:  # it diverged before the first checkpoint
        ended = began
    return RunProvenance(
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
        versions={
            name: _both_versions(version, ended.get(name))
            for name, version in began["versions"].items()
        },
        runs_at_once=runs_at_once,
    )


def _read_environment(run: RunFolder) -> dict[str, Any]:
    try:
        began = json.loads(run.environment.read_bytes())
        if began.keys() >= _RECORDED and isinstance(began["versions"], dict):
            return dict(began)
    except (OSError, ValueError, AttributeError):
        pass
    path = shlex.quote(str(run.path))
    raise TrainingError(
        f"{run.environment} is damaged: the provenance of the run is lost",
        hint=f"move the run away to train it again: mv {path} {path}-old",
        code="environment_damaged",
    )


def _both_versions(began_with: str, ended_with: str | None) -> str:
    """Return a version, or both if the run was resumed with another.

    Only the end records the build, as in `2.14.1+cu130`.
    """
    is_one = ended_with is None or ended_with.partition("+")[0] == began_with.partition("+")[0]
    return began_with if is_one else f"{began_with}, then {ended_with}"
