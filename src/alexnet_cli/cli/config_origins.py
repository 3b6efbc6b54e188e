"""Which value a setting takes, and where it came from.

Flag, then `ALEXNET_*` environment, then `--config` file; below them the description of trained
weights (`--from`), then the recipe, then the default.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from alexnet_cli.cli.variables import variable_of
from alexnet_cli.config import TrainConfig
from alexnet_cli.errors import UsageError
from alexnet_cli.recipes import adapted, recipe_settings


class OriginKind(StrEnum):
    """What kind of place a value came from."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    FILE = "file"
    WEIGHTS = "weights"
    RECIPE = "recipe"
    DEFAULT = "default"


@dataclass(frozen=True)
class Origin:
    """Where a value came from.

    Attributes:
        kind: What kind of place.
        name: Which one: the flag, variable, file, weights or recipe; none of a default.
    """

    kind: OriginKind
    name: str = ""

    def __str__(self) -> str:
        if self.kind in (OriginKind.WEIGHTS, OriginKind.RECIPE):
            return f"{self.kind} {self.name}"
        return self.name or self.kind

    def words(self, field: str, value: object) -> str:
        """Return a setting as it was written there."""
        match self.kind:
            case OriginKind.FLAG:
                return f"{self.name} {value}"
            case OriginKind.ENVIRONMENT:
                return f"{self.name}={value}"
        return f"{self}: {field} = {value!r}"


@dataclass(frozen=True)
class Effective:
    """A configuration, and the origin of each of its values by name."""

    config: TrainConfig
    origins: Mapping[str, Origin]


def given_origin(context: typer.Context, field: str, file: Path | None) -> Origin | None:
    """Return where the user set a field: by flag, environment or file, or not at all.

    Args:
        context: Of the command.
        field: The field.
        file: What `--config` names.
    """
    source = context.get_parameter_source(field)
    match source.name if source is not None else "":
        case "COMMANDLINE":
            return Origin(OriginKind.FLAG, flag_of(field))
        case "ENVIRONMENT":
            return Origin(OriginKind.ENVIRONMENT, variable_of(field))
        case "DEFAULT_MAP":
            return Origin(OriginKind.FILE, str(file))
    return None


def flag_of(field: str) -> str:
    """Return the long flag of a field."""
    return "--" + field.replace("_", "-")


def settle(values: dict[str, Any], given: dict[str, Origin]) -> Effective:
    """Fill in what the user left open, and check that all goes together.

    Args:
        values: Every field, those that the user left open with their defaults.
        given: Where the user set the others.

    Raises:
        UsageError: A value is out of bounds, or two do not go together.
    """
    chosen, weights = {name: values[name] for name in given}, {}
    name = values["from_weights"]
    if name:
        from alexnet_cli.training.pretrained import settings_of

        weights = settings_of(name)
    recipe, model = values["recipe"], (values | weights | chosen)["model"]
    settings = adapted(recipe_settings(recipe, model, values["data"]), chosen)
    origins = {
        **dict.fromkeys(values, Origin(OriginKind.DEFAULT)),
        **dict.fromkeys(settings, Origin(OriginKind.RECIPE, recipe)),
        **dict.fromkeys(weights, Origin(OriginKind.WEIGHTS, name)),
        **given,
    }
    try:
        return Effective(TrainConfig(**values | settings | weights | chosen), origins)
    except ValidationError as error:
        raise _in_words(error.errors(include_url=False)[0], origins) from error


def require_fields(values: dict[str, Any], path: Path) -> None:
    """Check a file's values one by one: what they need beside them may come from elsewhere.

    Raises:
        UsageError: A value is out of bounds; the message names file and key.
    """
    try:
        TrainConfig(**values)
    except ValidationError as error:
        origins = dict.fromkeys(values, Origin(OriginKind.FILE, str(path)))
        for problem in error.errors(include_url=False):
            if problem["loc"]:
                raise _in_words(problem, origins) from error


def _in_words(problem: ErrorDetails, origins: Mapping[str, Origin]) -> UsageError:
    reason = problem["msg"].removeprefix("Value error, ")
    hint = problem.get("ctx", {}).get("hint", "see: alexnet train --help")
    if problem["loc"]:
        field = str(problem["loc"][0])
        return UsageError(f"{origins[field].words(field, problem['input'])}: {reason}", hint=hint)
    named = [field for field in origins if re.search(rf"\b{field}\b", reason)]
    places = [f"{field}: {origins[field]}" for field in named]
    return UsageError(f"the options: {reason} ({'; '.join(places)})", hint=hint)
