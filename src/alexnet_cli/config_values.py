"""Checks of values that a user writes into the configuration."""

from pathlib import Path

from pydantic_core import PydanticCustomError

from alexnet_cli.networks import PRETRAINED


def weights_name(value: str) -> str:
    """Make a path absolute, so that the configuration means the same in another folder."""
    if not value or value in PRETRAINED or not Path(value).exists():
        return value
    return str(Path(value).resolve())


def epochs_in_order(value: str) -> str:
    """Refuse what are not numbers of epochs in order."""
    epochs = value.split(",") if value else []
    is_plain = all(epoch.isascii() and epoch.isdecimal() and epoch[0] != "0" for epoch in epochs)
    if not is_plain or epochs != sorted(set(epochs), key=int):
        reason = "takes numbers of epochs separated by commas, in order, each once"
        raise refused(reason, "write them as in --schedule stages --drop-epochs 120,130")
    return value


def refused(reason: str, hint: str) -> PydanticCustomError:
    """Return the error of a check, with what helps."""
    return PydanticCustomError("refused", "{reason}", {"reason": reason, "hint": hint})
