"""The configuration as a file: read, written, and described for editors."""

import difflib
import tomllib
from pathlib import Path
from typing import Any

import tomli_w

from alexnet_cli.config import TrainConfig
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
