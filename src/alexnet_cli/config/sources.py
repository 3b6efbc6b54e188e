"""The configuration as a file: read, written, and described for editors.

The `ALEXNET_*` variables that are set: a misspelt one does nothing, and nobody says so.

The environment variables that commands read.

Which value a setting takes, and where it came from.

Flag, then `ALEXNET_*` environment, then `--config` file; below them the description of trained
weights (`--from`), then the recipe, then the default.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import tomli_w
import typer
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from alexnet_cli.config.recipes import recipe_settings, reconcile_recipe
from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.console import note
from alexnet_cli.errors import UsageError


def read_config(path: Path) -> dict[str, Any]:
    """Return the values that a TOML file gives, by field; they are not checked yet.

    Raises:
        UsageError: The file cannot be read, is no TOML, or has a key that is no field.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"cannot read {path} ({error.strerror})", hint="check the path given to --config"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} is not valid TOML ({error})", hint="see an example: alexnet config --toml"
        ) from error
    for key in values:
        if key not in TrainConfig.model_fields:
            near = difflib.get_close_matches(key, TrainConfig.model_fields, n=1)
            meant = f"did you mean {near[0]!r}?" if near else "see all keys: alexnet config"
            raise UsageError(f"{path} has an unknown key {key!r}", hint=meant, code="unknown_key")
    return values


def config_text(config: TrainConfig) -> str:
    """Return a configuration as TOML that `read_config` takes back."""
    # TOML has no null: what is left out is what the default says.
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def config_schema() -> dict[str, Any]:
    """Return the JSON schema of a configuration file, for editors and validators.

    It checks each value by itself; what two of them need of each other, it cannot say.
    """
    schema = TrainConfig.model_json_schema()
    choices = schema.pop("$defs")
    for field in schema["properties"].values():
        # Draft 7, which editors of TOML know, ignores what stands beside a reference.
        if reference := field.pop("$ref", None):
            chosen = choices[reference.rpartition("/")[2]]
            words = field.get("description", chosen["description"])  # left out where they are equal
            field.update(type=chosen["type"], enum=chosen["enum"], description=words)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **schema,
        "title": "alexnet training configuration",
    }


PREFIX = "ALEXNET_"


@dataclass(frozen=True)
class Variable:
    """A variable that is set, and whether a command reads it."""

    name: str
    value: str
    is_known: bool


def list_variables(environment: Mapping[str, str], known: Iterable[str]) -> list[Variable]:
    """Return the variables of this program that are set.

    Args:
        environment: Of the process.
        known: Names that a command reads.
    """
    names = frozenset(known)
    return [
        Variable(name, value, name in names)
        for name, value in sorted(environment.items())
        if name.startswith(PREFIX)
    ]


VARIABLES = {
    "ALEXNET_HOME": "Cache folder: datasets, weights, compiled kernels.",
    "ALEXNET_DEVICE": "Default of --device.",
    "ALEXNET_MIRROR": "Addresses for download to ask first, separated by spaces.",
    "ALEXNET_OFFLINE": "1: download never reaches for the network.",
    "ALEXNET_PLOTS": "0: train draws no plots at its end.",
    "ALEXNET_DEBUG": "1: errors keep their traceback.",
}
_FOR_TESTS = (
    "ALEXNET_TEST_BROWSER", "ALEXNET_TEST_CIFAR10", "ALEXNET_TEST_FAULTS",
)  # fmt: skip


def unread_message(name: str, known: Iterable[str]) -> str:
    """Return the message for a variable that no command reads, with what may have been meant."""
    stems = sorted(each.removeprefix(PREFIX) for each in known)
    # Compared without the prefix, which would make any two names alike.
    near = difflib.get_close_matches(name.removeprefix(PREFIX), stems, n=1)
    return f"nothing reads {name}" + (f"; did you mean {PREFIX}{near[0]}?" if near else "")


def variable_of(field: str) -> str:
    """Return the variable that sets a field of the configuration."""
    return f"{PREFIX}{field.upper()}"


def known_variables() -> list[str]:
    """Return the variables that something reads."""
    return [*VARIABLES, *map(variable_of, TrainConfig.model_fields), *_FOR_TESTS]


def warn_of_unknown_variables() -> None:
    """Say which variables nothing reads: `ALEXNET_EPOCH=3` would go unnoticed."""
    if os.environ.get("RANK", "0") != "0":
        return  # the first of several processes has said it
    known = known_variables()
    for variable in list_variables(os.environ, known):
        if not variable.is_known:
            note(f"warning: {unread_message(variable.name, known)}")


class SourceKind(StrEnum):
    """What kind of place a value came from."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    FILE = "file"
    WEIGHTS = "weights"
    RECIPE = "recipe"
    DEFAULT = "default"


@dataclass(frozen=True)
class ValueSource:
    """Where a value came from.

    Attributes:
        kind: What kind of place.
        name: Which one: the flag, variable, file, weights or recipe; none of a default.
    """

    kind: SourceKind
    name: str = ""

    def __str__(self) -> str:
        if self.kind in (SourceKind.WEIGHTS, SourceKind.RECIPE):
            return f"{self.kind} {self.name}"
        return self.name or self.kind

    def words(self, field: str, value: object) -> str:
        """Return a setting as it was written there."""
        match self.kind:
            case SourceKind.FLAG:
                return f"{self.name} {value}"
            case SourceKind.ENVIRONMENT:
                return f"{self.name}={value}"
        return f"{self}: {field} = {value!r}"


@dataclass(frozen=True)
class ResolvedConfig:
    """A configuration, and the origin of each of its values by name."""

    config: TrainConfig
    sources: Mapping[str, ValueSource]


def given_source(context: typer.Context, field: str, file: Path | None) -> ValueSource | None:
    """Return where the user set a field: by flag, environment or file, or not at all.

    Args:
        context: Of the command.
        field: The field.
        file: What `--config` names.
    """
    source = context.get_parameter_source(field)
    match source.name if source is not None else "":
        case "COMMANDLINE":
            return ValueSource(SourceKind.FLAG, flag_of(field))
        case "ENVIRONMENT":
            return ValueSource(SourceKind.ENVIRONMENT, variable_of(field))
        case "DEFAULT_MAP":
            return ValueSource(SourceKind.FILE, str(file))
    return None


def flag_of(field: str) -> str:
    """Return the long flag of a field."""
    return "--" + field.replace("_", "-")


def resolve_config(
    values: dict[str, Any],
    given: dict[str, ValueSource],
    *,
    weights: Mapping[str, Any] | None = None,
) -> ResolvedConfig:
    """Fill in what the user left open, and check that all goes together.

    Args:
        values: Every field, those that the user left open with their defaults.
        given: Where the user set the others.
        weights: Settings that come with the weights of `--from`.

    Raises:
        UsageError: A value is out of bounds, or two do not go together.
    """
    weights = weights or {}
    chosen = {name: values[name] for name in given}
    recipe, model = values["recipe"], {**values, **weights, **chosen}["model"]
    settings = reconcile_recipe(recipe_settings(recipe, model, values["data"]), chosen)
    sources = {
        **dict.fromkeys(values, ValueSource(SourceKind.DEFAULT)),
        **dict.fromkeys(settings, ValueSource(SourceKind.RECIPE, recipe)),
        **dict.fromkeys(weights, ValueSource(SourceKind.WEIGHTS, values["from_weights"])),
        **given,
    }
    try:
        return ResolvedConfig(TrainConfig(**{**values, **settings, **weights, **chosen}), sources)
    except ValidationError as error:
        raise _in_words(error.errors(include_url=False)[0], sources) from error


def require_fields(values: dict[str, Any], path: Path) -> None:
    """Check a file's values one by one: what they need beside them may come from elsewhere.

    Raises:
        UsageError: A value is out of bounds; the message names file and key.
    """
    try:
        TrainConfig(**values)
    except ValidationError as error:
        sources = dict.fromkeys(values, ValueSource(SourceKind.FILE, str(path)))
        for problem in error.errors(include_url=False):
            if problem["loc"]:
                raise _in_words(problem, sources) from error


def _in_words(problem: ErrorDetails, sources: Mapping[str, ValueSource]) -> UsageError:
    reason = problem["msg"].removeprefix("Value error, ")
    hint = problem.get("ctx", {}).get("hint", "see: alexnet train --help")
    if problem["loc"]:
        field = str(problem["loc"][0])
        return UsageError(f"{sources[field].words(field, problem['input'])}: {reason}", hint=hint)
    named = [field for field in sources if re.search(rf"\b{field}\b", reason)]
    places = [f"{field}: {sources[field]}" for field in named]
    return UsageError(f"the options: {reason} ({'; '.join(places)})", hint=hint)
