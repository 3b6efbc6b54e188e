"""The flags of the commands: shared options, and one flag for each field of `TrainConfig`."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo

from alexnet_cli.config.schema import Flag, Panel, TrainConfig, flag_metadata
from alexnet_cli.config.sources import (
    flag_of,
    given_source,
    require_fields,
    resolve_config,
    variable_of,
    warn_of_unknown_variables,
)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the result.")]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        envvar="ALEXNET_DEVICE",
        show_envvar=False,
        help="auto, cpu, cuda, cuda:N, or tensorrt for an exported model; auto takes a GPU when "
        "there is one, any other name that or an error.",
    ),
]
Deterministic = Annotated[
    bool,
    typer.Option("--deterministic", help="The same bytes each time on CUDA too, but slower."),
]
TrainedOn = Annotated[
    str | None,
    typer.Option(
        "--data", help="Take the newest run on this dataset or folder.", show_default=False
    ),
]
ModelPath = Annotated[
    Path | None,
    typer.Argument(
        metavar="MODEL",
        help="Run folder, checkpoint folder, .onnx or .safetensors; the newest run by default.",
        show_default=False,
    ),
]


_RESOLVED = ("config", "sources", "given")


def with_config_flags(
    command: Callable[..., None], *, names: tuple[str, ...] = tuple(TrainConfig.model_fields)
) -> Callable[..., None]:
    """Give a command flags of `TrainConfig` and `--config`.

    The command takes keyword arguments of these names instead, as many as it has use for: `config`;
    `sources`, where each value came from; and `given`, the values that the user set by flag,
    environment or file. Its other parameters stay as they are.

    Args:
        command: The command.
        names: The fields that become flags; the others keep their defaults, or the recipe's.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.name not in _RESOLVED]
    fields = TrainConfig.model_fields
    ordered = sorted(names, key=lambda name: list(Panel).index(flag_metadata(name).panel))
    flags = [_flag(name, fields[name], flag_metadata(name)) for name in ordered]

    @functools.wraps(command)
    def wrapped(context: typer.Context, **values: Any) -> None:
        warn_of_unknown_variables()
        path = values.pop("config_file")
        settings = {name: field.default for name, field in fields.items()}
        settings |= {name: values.pop(name) for name in names}
        found = {name: given_source(context, name, path) for name in names}
        sources = {name: origin for name, origin in found.items() if origin is not None}
        weights = {}
        if name := settings["from_weights"]:
            from alexnet_cli.training.finetune import settings_of

            weights = settings_of(name)
        resolved = resolve_config(settings, sources, weights=weights)
        given = {name: getattr(resolved.config, name) for name in sources}
        arguments = dict(zip(_RESOLVED, (resolved.config, resolved.sources, given), strict=True))
        command(**{k: v for k, v in arguments.items() if k in signature.parameters}, **values)

    parameters = [_CONTEXT, *flags, _CONFIG_FILE, *own]
    wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapped


_CONTEXT = inspect.Parameter(
    "context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
)


def _flag(name: str, field: FieldInfo, flag: Flag) -> inspect.Parameter:
    long = flag_of(name)
    is_switch = field.annotation in (bool, bool | None)
    spellings = [f"{long}/--no-{name.replace('_', '-')}"] if is_switch else [long]
    spellings += [flag.also] if flag.also else []
    option = typer.Option(
        *spellings,
        help=field.description,
        envvar=variable_of(name),
        show_envvar=False,
        metavar="NAME" if name == "model" else None,  # a dozen names would fill the column
        rich_help_panel=flag.panel,
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=field.default,
        annotation=Annotated[field.annotation, option],
    )


def _read_config_file(context: typer.Context, path: Path | None) -> Path | None:
    """Make the file's values the defaults of the other options."""
    if path is None:
        return None
    from alexnet_cli.config.sources import read_config

    values = read_config(path)
    require_fields(values, path)
    context.default_map = values
    return path


_CONFIG_FILE = inspect.Parameter(
    "config_file",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", help="TOML file with defaults for these options, as in a run folder.",
            callback=_read_config_file, is_eager=True, show_default=False,
        ),
    ],
)  # fmt: skip
