"""Resuming a run: settings and hardware that may differ, and restarts by the launcher."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from alexnet_cli.config.schema import Schedule, TrainConfig, flag_metadata, flag_of
from alexnet_cli.errors import UsageError
from alexnet_cli.run_folder import RunFolder
from alexnet_cli.training.ranks import Ranks


def merge_resume_settings(
    own: TrainConfig, requested: dict[str, Any], *, allow_drift: bool
) -> TrainConfig:
    """Return a run's settings with the changes that the user requested, by name of the field.

    More epochs are not drift if they change nothing in the epochs before: the result is that of a
    run that had them from the start. `allow_drift` accepts changes that make the result differ.

    Raises:
        UsageError: The result would differ, or another network or other data would be needed.
    """
    before = own.model_dump()
    changes = {name: value for name, value in requested.items() if value != before[name]}
    if not changes:
        return own
    differences = "; ".join(
        f"{name} is {_shown(before[name])}, not {_shown(value)}" for name, value in changes.items()
    )
    if fixed := sorted(name for name in changes if not flag_metadata(name).can_change):
        flags = ", ".join(map(flag_of, fixed))
        raise UsageError(
            f"the run cannot be resumed with other settings: {differences}",
            hint=f"leave {flags} out, or start a new run without --resume",
            code="config_differs",
        )
    try:
        changed = TrainConfig(**{**before, **changes})
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UsageError(
            f"the run's settings and {differences}: {reason}", hint="see its config.toml"
        ) from error
    if allow_drift or (changes.keys() == {"epochs"} and _only_extends(own, changed.epochs)):
        return changed
    flags = ", ".join(map(flag_of, sorted(changes)))
    raise UsageError(
        f"the run was started with other settings: {differences}",
        hint=f"leave {flags} out, or accept another result: --allow-drift",
        code="config_differs",
    )


def _only_extends(own: TrainConfig, epochs: int) -> bool:
    depends = own.schedule is Schedule.LINEAR or own.warmup_epochs or own.early_crop_size
    return epochs > own.epochs and not depends


def _shown(value: object) -> str:
    return repr(value) if value == "" else str(value)


def require_same_environment(
    before: dict[str, str], now: dict[str, str], *, allow_drift: bool, warn: Callable[[str], None]
) -> None:
    """Compare the environment of a checkpoint with that of this process; with drift only warn.

    Raises:
        UsageError: They differ.
    """
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if not names:
        return
    differences = "; ".join(
        f"{name} was {before.get(name, 'none')}, is {now.get(name, 'none')}" for name in names
    )
    if not allow_drift:
        raise UsageError(
            f"resuming here would not be bit-identical: {differences}",
            hint="resume where the run was started, or accept that: --allow-drift",
            code="environment_differs",
        )
    warn(f"the result will not be bit-identical: {differences}")


def launch_record(ranks: Ranks) -> dict[str, str]:
    """Return the entry of `environment.json` that identifies the launcher of several processes."""
    return {} if ranks.is_alone else {"launch": os.environ.get("TORCHELASTIC_RUN_ID", "")}


def find_restarted_run(ranks: Ranks, parent: Path) -> RunFolder | None:
    """Return the run in `parent` that was started before the launcher restarted these processes."""
    if ranks.is_alone or os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
        return None
    record = launch_record(ranks)
    started = [
        path
        for path in parent.glob("*/environment.json")
        if record.items() <= json.loads(path.read_text()).items()
    ]
    newest = max(started, key=lambda path: path.stat().st_mtime_ns, default=None)
    return RunFolder(newest.parent) if newest else None
