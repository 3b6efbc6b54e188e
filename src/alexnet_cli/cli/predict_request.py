"""The arguments of `alexnet predict`, and a parser for them that does not wait for Typer.

Importing Typer takes as long as importing ONNX Runtime (0.11 s of a cold start). So arguments that
are plainly right are parsed here; everything else (help, a misspelling, a wrong number) is left to
Typer and its messages. A test compares the two.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class PredictRequest:
    """The arguments and flags of `alexnet predict`, under their names, with their defaults."""

    images: tuple[str, ...] = ()
    model: Path | None = None
    data: str | None = None
    files_from: str | None = None
    top_k: int = 5
    threshold: float = 0.0
    batch_size: int = 32
    copy_to: Path | None = None
    device: str = "auto"
    csv: bool = False
    verbose: bool = False
    quiet: bool = False
    json: bool = False


DEFAULTS = PredictRequest()
_SHORT = {"-m": "model", "-k": "top_k", "-b": "batch_size", "-q": "quiet", "-v": "verbose"}
_FLAGS = ("csv", "verbose", "quiet", "json")
MAX_BATCH_SIZE = 65_536
_NUMBERS = {"top_k": sys.maxsize, "batch_size": MAX_BATCH_SIZE}  # from 1 to
_PATHS = ("model", "copy_to")
_TEXTS = ("data", "files_from", "device")


def read_plainly(arguments: Sequence[str]) -> PredictRequest | None:
    """Parse the arguments after `predict` as Typer would, or return None if in doubt."""
    images: list[str] = []
    given: dict[str, Any] = {}
    if os.environ.get("ALEXNET_DEVICE"):
        given["device"] = os.environ["ALEXNET_DEVICE"]
    waiting = list(reversed(arguments))
    try:
        while waiting:
            argument = waiting.pop()
            if argument == "-" or not argument.startswith("-"):
                images.append(argument)
                continue
            name, is_joined, value = argument.partition("=")
            field = _field_name(name)
            if field in _FLAGS and not is_joined:
                given[field] = True
            else:
                given[field] = _value(field, value if is_joined else waiting.pop())
    except (KeyError, ValueError, IndexError):
        return None
    return PredictRequest(tuple(images), **given)


def _field_name(option: str) -> str:
    if not option.startswith("--"):
        return _SHORT[option]
    return option.removeprefix("--").replace("-", "_")


def _value(field: str, text: str) -> Any:
    """Convert an option's value.

    Raises:
        KeyError: Unknown option.
        ValueError: Not plainly right.
    """
    if (
        field in _NUMBERS
        and text.isdecimal()
        and text.isascii()
        and 1 <= int(text) <= _NUMBERS[field]
    ):
        return int(text)
    if field == "threshold" and text[:1].isdecimal() and 0 <= float(text) <= 1:
        return float(text)
    if text.startswith("-") and not (field == "files_from" and text == "-"):
        raise ValueError(text)
    if field in _PATHS:
        return Path(text)
    if field in _TEXTS:
        return text
    raise KeyError(field)
