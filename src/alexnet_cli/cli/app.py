"""The `alexnet` command, and the only place where errors become words and exit codes."""

import importlib
import json
import os
import sys
from collections.abc import Sequence

import typer

from alexnet_cli import __version__
from alexnet_cli.errors import AlexnetError

COMMANDS = ("download", "train", "evaluate", "export", "predict", "demo")

CONTEXT_SETTINGS = {
    "help_option_names": ["-h", "--help"],
    # `--learning_rate` is `--learning-rate`, for every option.
    "token_normalize_func": lambda token: token.replace("_", "-"),
}


def build_app(commands: Sequence[str] = COMMANDS) -> typer.Typer:
    """Return the application with these commands; a module is imported only for its own."""
    app = typer.Typer(
        name="alexnet",
        help="Train, evaluate, export and predict with AlexNet.",
        no_args_is_help=True,
        context_settings=CONTEXT_SETTINGS,
        pretty_exceptions_enable=False,
        epilog="Start with: alexnet demo. Then: download, train, evaluate, export, predict.",
    )
    app.callback()(_root)
    for name in commands:
        module = importlib.import_module(f"alexnet_cli.cli.{name}")
        app.command(name, epilog=module.EXAMPLES)(module.command)
    return app


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"alexnet {__version__}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(
        False, "--version", help="Show the version and exit.", callback=_show_version, is_eager=True
    ),
    debug: bool = typer.Option(
        False, "--debug", help="Show the traceback of an error (also ALEXNET_DEBUG=1)."
    ),
) -> None:
    """Train, evaluate, export and predict with AlexNet."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status.

    0 ok, 1 failure, 2 usage, 130 Ctrl-C, 143 SIGTERM.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(_run(arguments))


def _run(arguments: list[str]) -> int:
    debug = "--debug" in arguments or os.environ.get("ALEXNET_DEBUG", "") not in ("", "0")
    # Valid before the command and after it.
    if "--debug" in arguments:
        arguments = [argument for argument in arguments if argument != "--debug"]
    as_json = "--json" in arguments
    first = next((argument for argument in arguments if not argument.startswith("-")), "")
    completing = any(name.endswith("_COMPLETE") for name in os.environ)
    app = build_app([first] if first in COMMANDS and not completing else COMMANDS)
    try:
        status = app(arguments, prog_name="alexnet", standalone_mode=False)
    except typer.TyperException as error:  # the command line itself is wrong
        if debug:
            raise
        hint = f"see: alexnet {first} --help" if first in COMMANDS else "see: alexnet --help"
        _report(error.format_message(), hint, "usage", as_json=as_json)
        return error.exit_code
    except AlexnetError as error:
        if debug:
            raise
        _report(error.message, error.hint, error.code, as_json=as_json)
        return error.exit_code
    except KeyboardInterrupt:
        _report("interrupted", None, "interrupted", as_json=as_json)
        return 130
    except BrokenPipeError:  # the reader of a pipe has gone, as in `alexnet … | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status if isinstance(status, int) else 0


def _report(message: str, hint: str | None, code: str, *, as_json: bool) -> None:
    if not message:  # `alexnet` alone: the help was shown, there is nothing to add
        return
    if as_json:
        document = {"error": {"code": code, "message": message, "hint": hint}}
        print(json.dumps(document, ensure_ascii=False), file=sys.stderr)
        return
    print(f"error: {message}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)
