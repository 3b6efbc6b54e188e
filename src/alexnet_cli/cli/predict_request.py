"""The arguments of `alexnet predict`, and a parser for them that does not wait for Typer.

Importing Typer takes as long as importing ONNX Runtime (0.11 s of a cold start). So arguments that
are plainly right are parsed here; everything else (help, a misspelling, a wrong number) is left to
Typer and its messages. A test compares the two.
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alexnet_cli.manifest import ExportPrecision


@dataclass(frozen=True)
class PredictRequest:
    """The arguments and flags of `alexnet predict`, under their names, with their defaults."""

    images: tuple[str, ...] = ()
    model: Path | None = None
    precision: "ExportPrecision | None" = None
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
MAX_BATCH_SIZE = 65_536
_FLAGS = ("csv", "verbose", "quiet", "json")
_SHORT = {"-m": "model", "-k": "top_k", "-b": "batch_size", "-q": "quiet", "-v": "verbose"}


def _count(text: str, most: int = sys.maxsize) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= most):
        raise ValueError(text)
    return int(text)


def _probability(text: str) -> float:
    # A digit first: `float` also takes nan, infinity, signs and spaces.
    if not (text[:1].isdecimal() and 0 <= float(text) <= 1):
        raise ValueError(text)
    return float(text)


def _precision(text: str) -> "ExportPrecision":
    from alexnet_cli.manifest import ExportPrecision

    return ExportPrecision(text)


_OPTIONS: dict[str, Callable[[str], Any]] = {
    "model": Path,
    "precision": _precision,
    "data": str,
    "files_from": str,
    "top_k": _count,
    "threshold": _probability,
    "batch_size": partial(_count, most=MAX_BATCH_SIZE),
    "copy_to": Path,
    "device": str,
}


def parse_simple(arguments: Sequence[str]) -> PredictRequest | None:
    """Parse the arguments after `predict` as Typer would, or return None if in doubt."""
    images: list[str] = []
    given: dict[str, Any] = {}
    if os.environ.get("ALEXNET_DEVICE"):
        given["device"] = os.environ["ALEXNET_DEVICE"]
    remaining = list(reversed(arguments))
    try:
        while remaining:
            argument = remaining.pop()
            if argument == "-" or not argument.startswith("-"):
                images.append(argument)
                continue
            name, has_equals, value = argument.partition("=")
            is_long = name.startswith("--")
            field = name.removeprefix("--").replace("-", "_") if is_long else _SHORT[name]
            if field in _FLAGS and not has_equals:
                given[field] = True
                continue
            convert, value = _OPTIONS[field], value if has_equals else remaining.pop()
            # `--files-from -` is standard input.
            if value.startswith("-") and (field, value) != ("files_from", "-"):
                return None  # an option without its value, or a value that is not plain
            given[field] = convert(value)
    except (KeyError, ValueError, IndexError):
        return None
    return PredictRequest(tuple(images), **given)
