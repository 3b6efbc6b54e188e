"""One flag for each field of a configuration: name, type, default and help come from the field.

Precedence is the parser's own: flag, then `ALEXNET_*` environment, then `--config` file; below
them the recipe, then the default.
"""

import difflib
import functools
import inspect
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from alexnet_cli.config import TrainConfig
from alexnet_cli.errors import UsageError
from alexnet_cli.recipes import adapted, recipe_settings

_OTHER_NAMES = {
    "model": "-m",
    "batch_size": "-b",
    "learning_rate": "--lr",
    "from_weights": "--from",
    "colour_noise": "--color-noise",
}


def with_config_flags(
    command: Callable[..., None], *, names: tuple[str, ...] = tuple(TrainConfig.model_fields)
) -> Callable[..., None]:
    """Give a command flags of `TrainConfig` and `--config`.

    The command takes two keyword arguments instead: `config`, and `given`, the fields that the
    user set by flag, environment or file. Its other parameters stay as they are.

    Args:
        command: The command.
        names: The fields that become flags; the others keep their defaults, or the recipe's.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.name not in ("config", "given")]
    fields = TrainConfig.model_fields
    flags = [_flag(name, fields[name]) for name in names]

    @functools.wraps(command)
    def wrapped(context: typer.Context, **values: Any) -> None:
        values.pop("config_file")
        settings = {name: field.default for name, field in fields.items()}
        settings |= {name: values.pop(name) for name in names}
        named = [name for name in names if _was_given(context, name)]
        chosen, weights = {name: settings[name] for name in named}, {}
        if settings["from_weights"]:
            from alexnet_cli.training.pretrained import settings_of

            weights = settings_of(settings["from_weights"])
        recipe = recipe_settings(settings["recipe"], (settings | weights | chosen)["model"])
        config = validated(settings | adapted(recipe, chosen) | weights | chosen)
        given = {name: getattr(config, name) for name in named}
        command(config=config, given=given, **values)

    parameters = [_CONTEXT, *flags, _CONFIG_FILE, *own]
    wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapped


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


_CONTEXT = inspect.Parameter(
    "context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
)


def _flag(name: str, field: FieldInfo) -> inspect.Parameter:
    long = "--" + name.replace("_", "-")
    is_switch = field.annotation in (bool, bool | None)
    spellings = [f"{long}/--no-{name.replace('_', '-')}"] if is_switch else [long]
    spellings += [_OTHER_NAMES[name]] if name in _OTHER_NAMES else []
    option = typer.Option(
        *spellings,
        help=field.description,
        envvar=f"ALEXNET_{name.upper()}",
        show_envvar=False,
        metavar="NAME" if name == "model" else None,  # a dozen names would fill the column
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
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"cannot read {path} ({error.strerror})", hint="check the path given to --config"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} is not valid TOML ({error})", hint="see a run's config.toml for an example"
        ) from error
    for key in values:
        if key not in TrainConfig.model_fields:
            near = difflib.get_close_matches(key, TrainConfig.model_fields, n=1)
            meant = f"did you mean {near[0]!r}?" if near else "see: alexnet train --help"
            raise UsageError(f"{path} has an unknown key {key!r}", hint=meant, code="unknown_key")
    require_fields(values)
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


def validated(values: dict[str, Any]) -> TrainConfig:
    """Build the configuration.

    Raises:
        UsageError: A value is out of bounds, or two do not go together; the message names the flag.
    """
    try:
        return TrainConfig(**values)
    except ValidationError as error:
        raise _in_words(error.errors(include_url=False)[0]) from error


def require_fields(values: dict[str, Any]) -> None:
    """Check values one by one: what they need beside them may still come from flags or a recipe.

    Raises:
        UsageError: A value is out of bounds; the message names its flag.
    """
    try:
        TrainConfig(**values)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            if problem["loc"]:
                raise _in_words(problem) from error


def _in_words(problem: ErrorDetails) -> UsageError:
    flag = "--" + str(problem["loc"][0]).replace("_", "-") if problem["loc"] else "the options"
    value = f" {problem['input']}" if problem["loc"] else ""
    reason = problem["msg"].removeprefix("Value error, ")
    hint = problem.get("ctx", {}).get("hint", "see: alexnet train --help")
    return UsageError(f"{flag}{value}: {reason}", hint=hint)
