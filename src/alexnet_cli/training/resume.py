"""What may differ when a run goes on: nothing that changes its result, unless that is allowed.

Finding the run again that several processes had begun when their launcher restarted them.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from alexnet_cli.config.schema import Schedule, TrainConfig
from alexnet_cli.errors import UsageError
from alexnet_cli.runs import RunFolder
from alexnet_cli.training.ranks import Ranks

# What steers the updates to come. The rest determines the network, the data or their order.
_CHANGEABLE = frozenset({
    "epochs", "micro_batch_size", "learning_rate", "momentum", "momentum_kind", "muon_rate",
    "weight_decay", "bias_rate_factor", "bias_decay", "ema_decay", "schedule", "warmup_epochs",
    "label_smoothing", "patience", "max_drops", "drop_epochs", "early_crop_size", "pad", "flip",
    "precision",
})  # fmt: skip


def merge_resume_settings(
    own: TrainConfig, requested: dict[str, Any], *, allow_drift: bool
) -> TrainConfig:
    """Return a run's settings with the changes that were asked for.

    More epochs are no drift where they change nothing of the epochs before: the result is that of
    a run which had them from the start.

    Args:
        own: The run's settings.
        requested: Those the user gave, by name.
        allow_drift: Whether the updates to come may differ from those of the run as it was begun.

    Raises:
        UsageError: They would, or they would need another network or other data.
    """
    before = own.model_dump()
    changes = {name: value for name, value in requested.items() if value != before[name]}
    if not changes:
        return own
    differences = "; ".join(
        f"{name} is {_shown(before[name])}, not {_shown(value)}" for name, value in changes.items()
    )
    if fixed := sorted(changes.keys() - _CHANGEABLE):
        raise UsageError(
            f"the run cannot go on with other settings: {differences}",
            hint=f"leave {_flags(fixed)} out, or start a new run without --resume",
            code="config_differs",
        )
    try:
        changed = TrainConfig(**{**before, **changes})
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UsageError(
            f"the run's settings and {differences}: {reason}", hint="see its config.toml"
        ) from error
    if allow_drift or (changes.keys() == {"epochs"} and _grows(own, changed.epochs)):
        return changed
    raise UsageError(
        f"the run was started with other settings: {differences}",
        hint=f"leave {_flags(sorted(changes))} out, or change them from here on: --allow-drift",
        code="config_differs",
    )


def _grows(own: TrainConfig, epochs: int) -> bool:
    depends = own.schedule is Schedule.LINEAR or own.warmup_epochs or own.early_crop_size
    return epochs > own.epochs and not depends


def _shown(value: object) -> str:
    return repr(value) if value == "" else str(value)


def _flags(names: list[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


def require_same_environment(
    before: dict[str, str], now: dict[str, str], *, allow_drift: bool, warn: Callable[[str], None]
) -> None:
    """Compare what bit-identity depends on beside the settings.

    Args:
        before: As the checkpoint has it.
        now: As it is.
        allow_drift: Whether a difference is only told.
        warn: Told of it then.

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
            f"the run would not end in the same bytes here: {differences}",
            hint="go on where it began, or accept that: --allow-drift",
            code="environment_differs",
        )
    warn(f"the result will not be bit-identical: {differences}")


def launch_record(ranks: Ranks) -> dict[str, str]:
    """Return what `environment.json` says of the launcher of several processes."""
    return {} if ranks.is_alone else {"launch": os.environ.get("TORCHELASTIC_RUN_ID", "")}


def find_restarted_run(ranks: Ranks, parent: Path) -> RunFolder | None:
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
