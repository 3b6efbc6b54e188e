"""The source of each setting: flag > environment > file > weights > recipe > default.

A flag, an `ALEXNET_*` variable or the `--config` file is the user's choice; below them come the
settings of trained weights (`--from`), the recipe and the default.
"""

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from alexnet_cli.config.recipes import recipe_settings, reconcile_recipe
from alexnet_cli.config.schema import PREFIX, TrainConfig, help_text, variable_of
from alexnet_cli.console import hide_secrets, note
from alexnet_cli.errors import UsageError, did_you_mean, reword_validation
from alexnet_cli.files import decode_text


class SourceKind(StrEnum):
    FLAG = "flag"
    ENVIRONMENT = "environment"
    FILE = "file"
    WEIGHTS = "weights"
    RECIPE = "recipe"
    DEFAULT = "default"


@dataclass(frozen=True)
class ValueSource:
    kind: SourceKind
    name: str = ""  # of the flag, variable, file, weights or recipe

    def __str__(self) -> str:
        if self.kind in (SourceKind.WEIGHTS, SourceKind.RECIPE):
            return f"{self.kind} {self.name}"
        return self.name or self.kind

    def format_setting(self, field: str, value: object) -> str:
        """Return a setting as the user wrote it there."""
        match self.kind:
            case SourceKind.FLAG:
                text = f"{value:g}" if isinstance(value, float) else value  # 0, not 0.0
                return f"{self.name} {text}"
            case SourceKind.ENVIRONMENT:
                return f"{self.name}={value}"
        return f"{self}: {field} = {value!r}"


def resolve_config(
    values: dict[str, Any],
    given: dict[str, ValueSource],
    *,
    weights: Mapping[str, Any] | None = None,
) -> tuple[TrainConfig, dict[str, ValueSource]]:
    """Return the configuration, and the source of each of its values by field.

    `values` has a value for every field, `given` the sources of those that the user set, `weights`
    the settings of the trained weights of `--from`.

    Raises:
        UsageError: A value is out of bounds, or two do not agree.
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
        return TrainConfig(**{**values, **settings, **weights, **chosen}), sources
    except ValidationError as error:
        raise _usage_error(error.errors(include_url=False)[0], sources) from error


def _usage_error(problem: ErrorDetails, sources: Mapping[str, ValueSource]) -> UsageError:
    """Return pydantic's error with the sources of the settings that it is about."""
    reason = reword_validation(problem["msg"])
    hint = problem.get("ctx", {}).get("hint", "see: alexnet train --help")
    if problem["loc"]:
        field = str(problem["loc"][0])
        setting = sources[field].format_setting(field, problem["input"])
        return UsageError(f"{setting}: {reason}", hint=hint)
    named = [field for field in sources if re.search(rf"\b{field}\b", reason)]
    places = [f"{field}: {sources[field]}" for field in named]
    return UsageError(f"the options: {reason} ({'; '.join(places)})", hint=hint)


def read_config(path: Path) -> dict[str, Any]:
    """Return the values of a TOML file by field.

    Each is checked by itself: a setting that it needs may come from another source.

    Raises:
        UsageError: The file cannot be read, is not TOML, or has an unknown key or a wrong value.
    """
    try:
        values = tomllib.loads(decode_text(path.read_bytes()))
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
            hint = did_you_mean(key, TrainConfig.model_fields, hint="see all keys: alexnet config")
            raise UsageError(f"{path} has an unknown key {key!r}", hint=hint, code="unknown_key")
    try:
        # As JSON, whose strict types are TOML's: "3" is not a number, but "he" may name a choice.
        TrainConfig.model_validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        sources = dict.fromkeys(values, ValueSource(SourceKind.FILE, str(path)))
        for problem in error.errors(include_url=False):
            if problem["loc"]:
                raise _usage_error(problem, sources) from error
    return values


def config_text(config: TrainConfig) -> str:
    """Return a configuration as TOML for `read_config`."""
    # TOML has no null: a field that is left out has its default.
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def config_schema() -> dict[str, Any]:
    """Return the JSON schema of a configuration file, for editors and validators.

    It checks each value by itself; JSON schema cannot express what two values need of each other.
    """
    schema = TrainConfig.model_json_schema()
    choices = schema.pop("$defs")
    for name, field in schema["properties"].items():
        # Draft 7, which TOML editors support, ignores the keys next to a reference.
        if reference := field.pop("$ref", None):
            enum = choices[reference.rpartition("/")[2]]
            field.update(type=enum["type"], enum=enum["enum"])
        field["description"] = help_text(name)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **schema,
        "title": "alexnet training configuration",
    }


VARIABLES = {  # besides those of the settings
    "ALEXNET_HOME": "Cache folder: datasets, weights, compiled kernels.",
    "ALEXNET_DEVICE": "Default of --device.",
    "ALEXNET_MIRROR": "Mirrors that download tries first, separated by spaces.",
    "ALEXNET_OFFLINE": "1: download does not use the network.",
    "ALEXNET_PLOTS": "0: train draws no plots at the end.",
    "ALEXNET_DEBUG": "1: errors keep their traceback.",
}
_FOR_TESTS = ("ALEXNET_TEST_BROWSER", "ALEXNET_TEST_CIFAR10", "ALEXNET_TEST_FAULTS")


@dataclass(frozen=True)
class Variable:
    """An environment variable of this program; one that is not known has no effect."""

    name: str
    value: str  # without passwords
    is_known: bool


def known_variables() -> list[str]:
    """Return the variables that have an effect."""
    return [*VARIABLES, *map(variable_of, TrainConfig.model_fields), *_FOR_TESTS]


def list_variables(environment: Mapping[str, str], known: Iterable[str]) -> list[Variable]:
    """Return the variables of this program that are set."""
    names = frozenset(known)
    return [
        Variable(name, hide_secrets(value), name in names)
        for name, value in sorted(environment.items())
        if name.startswith(PREFIX)
    ]


def unread_message(name: str, known: Iterable[str]) -> str:
    """Return the message for a variable without effect, with the nearest known one."""
    stems = sorted(each.removeprefix(PREFIX) for each in known)
    # Compared without the prefix, which would make any two names alike.
    near = difflib.get_close_matches(name.removeprefix(PREFIX), stems, n=1)
    return f"nothing reads {name}" + (f"; did you mean {PREFIX}{near[0]}?" if near else "")


def warn_of_unknown_variables() -> None:
    """Warn of variables that nothing reads, such as a misspelt `ALEXNET_EPOCH=3`."""
    if os.environ.get("RANK", "0") != "0":
        return  # rank 0 warns
    known = known_variables()
    for variable in list_variables(os.environ, known):
        if not variable.is_known:
            note(f"warning: {unread_message(variable.name, known)}")
