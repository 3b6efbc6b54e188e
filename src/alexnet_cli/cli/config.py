"""`alexnet config`."""

import json as json_text
from collections.abc import Mapping
from typing import Annotated

import typer

from alexnet_cli.cli.options import Json, with_config_flags
from alexnet_cli.config.schema import TrainConfig, flag_metadata
from alexnet_cli.config.sources import ValueSource, config_schema, config_text
from alexnet_cli.console import print_json, printable
from alexnet_cli.errors import UsageError

EXAMPLES = (
    "alexnet config --recipe fast --batch-size 256",
    "alexnet config --config runs/alexnet-cifar-cifar10/config.toml --json",
    "alexnet config --model cuda-convnet-18pct --toml > mine.toml",
    "alexnet config --schema > alexnet.schema.json",
)


@with_config_flags
def command(
    *,
    config: TrainConfig,
    sources: Mapping[str, ValueSource],
    toml: Annotated[bool, typer.Option("--toml", help="Print a TOML file for --config.")] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of a --config file.")
    ] = False,
    json: Json = False,
) -> None:
    """Show each setting of train and its source.

    Order of precedence: flag, environment variable (ALEXNET_EPOCHS), --config
    file, settings of trained weights (--from), --recipe, default. To check that
    the sizes fit the images and the network: alexnet train --dry-run.
    """
    if toml + schema + json > 1:
        raise UsageError("--toml, --schema and --json exclude each other", hint="choose one")
    if toml or schema:
        text = config_text(config) if toml else json_text.dumps(config_schema(), indent=2) + "\n"
        print(text, end="")
        return
    values = config.model_dump(mode="json")
    if json:
        print_json({
            name: {"value": value, "origin": sources[name].kind, "name": sources[name].name or None}
            for name, value in values.items()
        })  # fmt: skip
        return
    rows = [(name, _shown(name, value), str(sources[name])) for name, value in values.items()]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, value, source in rows:
        print(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {printable(source)}")


def _shown(name: str, value: object) -> str:
    if value is None:
        return flag_metadata(name).default
    if isinstance(value, bool):
        return str(value).lower()
    return printable(str(value)) or "(none)"
