"""The `alexnet` command, and the only place where errors become words and exit codes."""

import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

import typer

from alexnet_cli import __version__
from alexnet_cli.cli.console import report_error
from alexnet_cli.errors import AlexnetError
from alexnet_cli.files import remove_temporaries
from alexnet_cli.runs import NEWEST

COMMANDS = {
    "download": "Fetch a dataset into the cache folder, its hash checked before it is opened.",
    "data": "Show what the cache folder holds, check it, and look at images.",
    "train": "Train a network; the run folder's path is the result.",
    "evaluate": "Measure a model: top-1 with its 95 % interval, top-5, loss, and each class.",
    "export": "Write the best checkpoint as ONNX or safetensors, compared with PyTorch.",
    "predict": "Classify images with an exported model, without PyTorch.",
    "models": "List the networks that can be trained, with their size and source.",
    "explain": "Show a network layer by layer, and where it differs from the paper.",
    "doctor": "Look at this machine and this installation; name each problem and its repair.",
    "verify-resume": "Kill a short training at random moments and compare its result.",
    "demo": "Run the whole path on images that this package draws itself.",
}

CONTEXT_SETTINGS = {
    "help_option_names": ["-h", "--help"],
    # `--learning_rate` is `--learning-rate`, for every option.
    "token_normalize_func": lambda token: token.replace("_", "-"),
}


def build_app(*, only: str | None = None, outline: bool = False) -> typer.Typer:
    """Return the application.

    Args:
        only: The one command that will run; the modules of the others are not imported.
        outline: Whether the commands' names and summaries are enough, as for `alexnet --help`.
    """
    app = typer.Typer(
        name="alexnet",
        help="Train, evaluate, export and predict with AlexNet.",
        no_args_is_help=True,
        context_settings=CONTEXT_SETTINGS,
        pretty_exceptions_enable=False,
        epilog="Start with: alexnet demo. Then: download, train, evaluate, export, predict.",
    )
    app.callback()(_root)
    for name in [only] if only else COMMANDS:
        if outline:
            app.command(name, short_help=COMMANDS[name])(_outline_command)
            continue
        module = importlib.import_module(f"alexnet_cli.cli.{name.replace('-', '_')}")
        if hasattr(module, "build_group"):
            group = typer.Typer(epilog=module.EXAMPLES)
            module.build_group(group)
            app.add_typer(group, name=name, short_help=COMMANDS[name])
        else:
            app.command(name, short_help=COMMANDS[name], epilog=module.EXAMPLES)(module.command)
    return app


def _outline_command() -> None:
    """Stand in for a command in the list of commands."""


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
    for stream in (sys.stdout, sys.stderr):  # a file name may hold bytes that are no text
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    _stop_at_once_on_signals()
    sys.exit(_run(arguments))


def _stop_at_once_on_signals() -> None:
    """Make Ctrl-C and SIGTERM end the process with their exit codes, whatever it is doing.

    Training replaces these handlers by ones that save first. An exception would not do: raised
    inside an import or a callback from C++ it is swallowed, or aborts the process.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        sys.stdout.flush()
        report_error("interrupted", None, "interrupted", as_json="--json" in sys.argv)
        remove_temporaries()
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)


def _run(arguments: list[str]) -> int:
    debug = "--debug" in arguments or os.environ.get("ALEXNET_DEBUG", "") not in ("", "0")
    arguments = [argument for argument in arguments if argument != "--debug"]  # valid anywhere
    as_json = "--json" in arguments
    arguments = _with_newest(arguments)
    first = next((argument for argument in arguments if not argument.startswith("-")), "")
    completing = any(name.endswith("_COMPLETE") for name in os.environ)
    known = first if first in COMMANDS and not completing else None
    app = build_app(only=known, outline=known is None and not completing)

    def invoke() -> int:
        status = app(arguments, prog_name="alexnet", standalone_mode=False)
        return status if isinstance(status, int) else 0

    if debug:
        return invoke()
    return _with_errors_in_words(invoke, command=first, as_json=as_json)


def _with_newest(arguments: list[str]) -> list[str]:
    """Fill in what `--resume` alone stands for: Typer has no option with a value left out."""
    following = [*arguments[1:], "-"]
    return [
        f"{argument}={NEWEST}" if argument == "--resume" and after.startswith("-") else argument
        for argument, after in zip(arguments, following, strict=True)
    ]


def _with_errors_in_words(invoke: Callable[[], int], *, command: str, as_json: bool) -> int:
    try:
        return invoke()
    except typer.TyperException as error:  # the command line itself is wrong
        message = error.format_message()
        hint = f"see: alexnet {command} --help" if command in COMMANDS else "see: alexnet --help"
        if message:  # `alexnet` alone has shown its help, there is nothing to add
            report_error(message, hint, "usage", as_json=as_json)
        return error.exit_code
    except AlexnetError as error:
        report_error(error.message, error.hint, error.code, as_json=as_json)
        return error.exit_code
    except OSError as error:
        message = f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
        report_error(message, "check that the path exists and its permissions", "os_error",
                     as_json=as_json)  # fmt: skip
        return 1
    except MemoryError:
        hint = "choose a smaller --batch-size or --image-size"
        report_error("not enough memory", hint, "out_of_memory", as_json=as_json)
        return 1
