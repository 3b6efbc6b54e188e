"""Options that several commands share, and the flags of `TrainConfig`, made from its fields."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from alexnet_cli.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from alexnet_cli.config.sources import ValueSource

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the result.")]


def _device_option(names: str) -> Any:
    help_text = f"auto: a GPU if there is one; {names}: that device, or an error."
    return typer.Option("--device", envvar="ALEXNET_DEVICE", show_envvar=False, help=help_text)


Device = Annotated[str, _device_option("cpu, cuda or cuda:N")]
DeviceOrTensorrt = Annotated[
    str, _device_option("cpu, cuda, cuda:N or, for exported models, tensorrt")
]
Deterministic = Annotated[
    bool, typer.Option("--deterministic", help="Bit-identical results on CUDA too; slower.")
]
TrainedOn = Annotated[
    str | None, typer.Option("--data", help="Use the newest run on this dataset or folder.")
]
_Choice = TypeVar("_Choice", bound=StrEnum)


def choose(kind: type[_Choice], value: str, flag: str) -> _Choice:
    """Return the member of an enumeration that a flag names, or raise a `UsageError`."""
    if value in tuple(kind):
        return kind(value)
    hint = f"use {' or '.join(f'{flag} {each}' for each in kind)}"
    name = flag.removeprefix("--")
    raise UsageError(f"unknown {name} {value!r}", hint=did_you_mean(value, kind, hint=hint))


def with_config_flags(
    command: Callable[..., None],
    *,
    names: Sequence[str] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Callable[..., None]:
    """Give a command the flags of `TrainConfig`, and `--config`.

    The command takes any of `config`; `sources`, the source of each value; and `given`, the values
    that the user set by flag, environment or file. Its other parameters stay.

    By default all fields become flags. With `names`, the others keep their default, or the
    recipe's. `defaults` are for the help: the command uses them where `given` has none.
    """
    # Not above: commands without these flags do not wait for the class to be built.
    from alexnet_cli.config.schema import Panel, TrainConfig, flag_metadata

    fields = names or tuple(TrainConfig.model_fields)
    signature = inspect.signature(command, eval_str=True)
    wanted = signature.parameters.keys() & {"config", "sources", "given"}

    @functools.wraps(command)
    def wrapped(context: typer.Context, **values: Any) -> None:
        results = _resolve(context, {name: values.pop(name) for name in fields}, values)
        command(**{name: results[name] for name in wanted}, **values)

    panels = list(Panel)
    ordered = sorted(fields, key=lambda name: panels.index(flag_metadata(name).panel))
    parameters = [
        inspect.Parameter("context", _POSITIONAL, annotation=typer.Context),
        *(_config_flag(name, defaults or {}) for name in ordered),
        inspect.Parameter("config_file", _KEYWORD, default=None, annotation=_ConfigFile),
        *(each for name, each in signature.parameters.items() if name not in wanted),
    ]
    wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {each.name: each.annotation for each in parameters}
    return wrapped


def _resolve(
    context: typer.Context, flags: dict[str, Any], others: dict[str, Any]
) -> dict[str, Any]:
    """Return `config`, `sources` and `given`; take `--config` out of the other values."""
    from alexnet_cli.config.schema import TrainConfig
    from alexnet_cli.config.sources import resolve_config, warn_of_unknown_variables

    warn_of_unknown_variables()
    path = others.pop("config_file")
    found = {name: _given_source(context, name, path) for name in flags}
    given = {name: source for name, source in found.items() if source is not None}
    values = {name: field.default for name, field in TrainConfig.model_fields.items()} | flags
    weights = {}
    if values["from_weights"]:
        from alexnet_cli.training.open_model import settings_of

        weights = settings_of(values["from_weights"])
    config, sources = resolve_config(values, given, weights=weights)
    given_values = {name: getattr(config, name) for name in given}
    return {"config": config, "sources": sources, "given": given_values}


def _given_source(context: typer.Context, field: str, file: Path | None) -> "ValueSource | None":
    """Return the source of a field that the user set; None if it was left open."""
    from alexnet_cli.config.schema import flag_of, variable_of
    from alexnet_cli.config.sources import SourceKind, ValueSource

    source = context.get_parameter_source(field)
    match source.name if source is not None else "":
        case "COMMANDLINE":
            return ValueSource(SourceKind.FLAG, flag_of(field))
        case "ENVIRONMENT":
            return ValueSource(SourceKind.ENVIRONMENT, variable_of(field))
        case "DEFAULT_MAP":
            return ValueSource(SourceKind.FILE, str(file))
    return None


def _config_flag(name: str, defaults: Mapping[str, Any]) -> inspect.Parameter:
    from alexnet_cli.config import schema

    field, flag = schema.TrainConfig.model_fields[name], schema.flag_metadata(name)
    long = schema.flag_of(name)
    is_switch = field.annotation in (bool, bool | None)
    # Typer has no unions of numbers.
    kind = float | None if field.annotation == int | float | None else field.annotation
    metavars = {"model": "NAME", "val_size": "N"}  # a dozen names would fill the column
    option = typer.Option(
        f"{long}/--no-{long.removeprefix('--')}" if is_switch else long,
        *([flag.also] if flag.also else []),
        help=schema.help_text(name),
        envvar=schema.variable_of(name),
        show_envvar=False,
        metavar=metavars.get(name),
        show_default=_shown_default(name, defaults),
        rich_help_panel=flag.panel,
    )
    return inspect.Parameter(
        name, _KEYWORD, default=field.default, annotation=Annotated[kind, option]
    )


def _shown_default(name: str, defaults: Mapping[str, Any]) -> bool | str:
    """Return the default for the help: of a command, as the recipe has it, or the field's (True).

    A recipe's is that of the command without flags.
    """
    from alexnet_cli.config import recipes, schema

    if name in defaults:
        return str(defaults[name])
    if text := schema.flag_metadata(name).default:
        return text
    if name not in recipes.recipe_fields():
        return True
    plain = schema.TrainConfig(**defaults)
    settings = recipes.recipe_settings(plain.recipe, plain.model, plain.data)
    value = settings.get(name, getattr(plain, name))
    if isinstance(value, bool):
        value = "on" if value else "off"
    return f"{value}, by recipe" if value != "" else "by recipe"


def _read_config_file(context: typer.Context, path: Path | None) -> Path | None:
    """Make the file's values the defaults of the other options."""
    if path is not None:
        from alexnet_cli.config.sources import read_config

        context.default_map = read_config(path)
    return path


_POSITIONAL, _KEYWORD = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
_ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="TOML file with defaults for these options, as in a run folder.",
        callback=_read_config_file,
        is_eager=True,
    ),
]
