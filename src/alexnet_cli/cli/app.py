"""The Typer application: the commands, their help pages, and errors of the command line.

A help page is plain text: options in groups, names uncut, an example on each line.
"""

import importlib
import inspect
import os
import re
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from alexnet_cli import __version__
from alexnet_cli.cli.main import is_completing
from alexnet_cli.errors import UsageError, did_you_mean, reword_validation

COMMANDS = {
    "download": "Download a dataset to the cache folder, verified before it is opened.",
    "data": "List the files in the cache folder, verify them, draw a sheet of labelled images.",
    "train": "Train a network; the run folder's path is the result.",
    "config": "Show each setting of train and its source.",
    "evaluate": "Measure a model: top-1 with its 95 % interval, each class; or compare several.",
    "report": "Write an HTML report of a run: its training and its network's predictions.",
    "export": "Write the best checkpoint as ONNX or safetensors, compared with PyTorch.",
    "predict": "Classify images with an exported model, without PyTorch.",
    "runs": "List the runs of a folder, or the settings in which some differ.",
    "models": "List the networks that can be trained, with their size and source.",
    "explain": "Show a network layer by layer, and where it differs from the paper.",
    "doctor": "Examine this machine and this installation; name each problem and its fix.",
    "reproduce": "Run an experiment of the paper and compare its claims with the result.",
    "verify-resume": "Kill a short training at random moments and compare its result.",
    "demo": "Train, evaluate, export and predict on images drawn by this package.",
}

EXAMPLES = (
    "alexnet demo",
    "alexnet download",
    "alexnet train --epochs 90 --batch-size 128",
    "alexnet evaluate",
    "alexnet export --format onnx",
    "alexnet predict img.png",
    "alexnet help train",
)

CONTEXT_SETTINGS = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
    # `--learning_rate` is `--learning-rate`, for every option.
    "token_normalize_func": lambda token: token.replace("_", "-"),
}


def run_typer(arguments: list[str]) -> int:
    """Run a command through Typer and return its exit code."""
    if arguments[:1] == ["help"]:  # `alexnet help train` is `alexnet train --help`
        arguments = [*arguments[1:2], "--help"]
    first = next((argument for argument in arguments if not argument.startswith("-")), "")
    # Help: names only. One command: its module. Completion: all modules.
    completing = is_completing()
    known = first if first in COMMANDS and not completing else None
    app = build_app(only=known, outline=known is None and not completing)
    try:
        status = app(arguments, prog_name="alexnet", standalone_mode=False)
    except typer.TyperException as error:  # the command line itself is wrong
        message = _message(error)
        raise UsageError(message, hint=_hint(message, first)) from error
    return status if isinstance(status, int) else 0


def _hint(message: str, command: str) -> str:
    """Return the nearest value to a mistyped one, and the page that lists all of them."""
    value, found, choices = message.partition(" is not one of ")
    page = f"see: alexnet {command} --help" if command in COMMANDS else "see: alexnet --help"
    if not found:
        return page
    return did_you_mean(
        value.rpartition(" '")[2].strip("'"), re.findall("'([^']*)'", choices), hint=page
    )


def _message(error: typer.TyperException) -> str:
    """Return the message of an error; a wrong value from the environment names its variable."""
    if not isinstance(error, typer.BadParameter):
        return error.format_message()
    error.message = reword_validation(error.message)
    if error.ctx and error.param:
        source = error.ctx.get_parameter_source(error.param.name)
        variable = error.param.envvar
        if isinstance(variable, str) and source is not None and source.name == "ENVIRONMENT":
            return f"{variable}={os.environ[variable]}: {error.message}"
    return error.format_message()


def build_app(*, only: str | None = None, outline: bool = False) -> typer.Typer:
    """Return the application.

    With `only`, a single command: the modules of the others are not imported. With `outline`, the
    names and summaries of all commands, as for `alexnet --help`; no module is imported.
    """
    app = typer.Typer(
        name="alexnet",
        help="Train, evaluate, export and predict with AlexNet.",
        cls=HelpGroup,
        invoke_without_command=True,
        context_settings=CONTEXT_SETTINGS,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        epilog="\n".join(EXAMPLES),
    )
    app.callback()(_root)
    for name in [only] if only else COMMANDS:
        if outline:
            app.command(name, cls=HelpCommand, short_help=COMMANDS[name])(lambda: None)
            continue
        module = importlib.import_module(f"alexnet_cli.cli.{name.replace('-', '_')}")
        epilog = "\n".join(module.EXAMPLES)
        if hasattr(module, "build_group"):
            group = typer.Typer(cls=HelpGroup, rich_markup_mode=None, epilog=epilog)
            module.build_group(group)
            app.add_typer(group, name=name, short_help=COMMANDS[name])
        else:
            app.command(name, cls=HelpCommand, short_help=COMMANDS[name], epilog=epilog)(
                module.command
            )
    return app


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"alexnet {__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    version: bool = typer.Option(  # noqa: ARG001 - its callback has acted
        False, "--version", help="Show the version and exit.", callback=_show_version, is_eager=True
    ),
    debug: bool = typer.Option(  # noqa: ARG001 - `main.run` has acted
        False, "--debug", help="Show the traceback of an error (also ALEXNET_DEBUG=1)."
    ),
) -> None:
    """Train, evaluate, export and predict with AlexNet."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


_UNBREAKABLE = "\N{NON-BREAKING HYPHEN}"


def _write_page(command: TyperCommand | TyperGroup, ctx: Any, formatter: Any) -> None:
    """Write a help page; its hyphens are non-breaking while lines are filled, so no flag breaks."""
    command.format_usage(ctx, formatter)
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(inspect.cleandoc(command.help or "").replace("-", _UNBREAKABLE))
    for title, rows in _sections(command, ctx).items():
        if not rows:
            continue
        with formatter.section(title):
            formatter.write_dl([(name, _help_text(text)) for name, text in rows])
    if command.epilog:
        with formatter.section("Examples"):
            for line in command.epilog.splitlines():
                formatter.write(f"  {line}\n")
    formatter.buffer[:] = [text.replace(_UNBREAKABLE, "-") for text in formatter.buffer]


def _help_text(text: str) -> str:
    """Remove click's parentheses from a default in prose; keep flags in one piece."""
    return re.sub(r"\[default: \((.*)\)", r"[default: \1", text).replace("-", _UNBREAKABLE)


def _sections(command: TyperCommand | TyperGroup, context: Any) -> dict[str, list[tuple[str, str]]]:
    """Return the rows of arguments, options by group, options of no group, and commands."""
    arguments, options = [], []
    groups: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(context):
        row = parameter.get_help_record(context)
        if row is None:
            continue
        group = getattr(parameter, "rich_help_panel", None)
        if parameter.param_type_name == "argument":
            name, text = row
            arguments.append((name.partition(" ")[0], text))  # without its type, or all choices
        elif group:
            groups.setdefault(group, []).append(row)
        else:
            options.append(row)
    commands = [
        (name, inner.short_help or (inner.help or "").partition("\n")[0])
        for name, inner in getattr(command, "commands", {}).items()
    ]
    return {"Arguments": arguments, **groups, "Options": options, "Commands": commands}


class HelpCommand(TyperCommand):
    format_help = _write_page


class HelpGroup(TyperGroup):
    format_help = _write_page
