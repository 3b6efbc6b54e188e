"""CLI entry point: signals, and the boundary that maps errors to messages and exit codes.

It does not import Typer: a plain `alexnet predict` has answered before Typer would be imported.
"""

import contextlib
import errno
import gc
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from alexnet_cli.cli.predict_request import parse_simple
from alexnet_cli.console import drop_output, prepare_streams, report_error
from alexnet_cli.errors import AlexnetError, is_out_of_memory
from alexnet_cli.files import remove_temporaries


def start() -> NoReturn:
    """Run the process's command line and exit; after a prediction without Python's clean-up."""
    prepare_streams()
    status = run(sys.argv[1:])
    if sys.argv[1:2] != ["predict"]:
        sys.exit(status)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit code: 0 ok, 1 failure, 2 usage, 130, 143 signals."""
    _stop_at_once_on_signals()
    debug = "--debug" in arguments or os.environ.get("ALEXNET_DEBUG", "") not in ("", "0")
    arguments = [argument for argument in arguments if argument != "--debug"]  # valid anywhere
    is_predict = arguments[:1] == ["predict"] and not is_completing()
    try:
        _require_working_folder()
        request = parse_simple(arguments[1:]) if is_predict else None
        if request is None:
            from alexnet_cli.cli.app import run_typer

            status = run_typer(_with_newest(arguments))
        else:
            gc.disable()  # nothing of what imports create is garbage
            from alexnet_cli.cli.prediction import predict

            gc.enable()
            status = predict(request)
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit) as error:
        # A closed pipe, as of `| head`: Typer and rich turn it into SystemExit(1).
        if not any(isinstance(each, BrokenPipeError) for each in (error, error.__context__)):
            raise
        drop_output(sys.stdout, sys.stderr)
        return 0
    except Exception as error:
        known = _to_alexnet_error(error)
        if debug or known is None:
            raise
        report_error(known.message, known.hint, known.code, as_json="--json" in arguments)
        try:
            sys.stdout.flush()
        except OSError:
            drop_output(sys.stdout)
        return known.exit_code
    return status


def _require_working_folder() -> None:
    """Refuse a deleted working folder, in which PyTorch's libraries abort the process."""
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise AlexnetError(
            "the working folder was deleted", hint="go to another one: cd", code="no_folder"
        ) from error


def _to_alexnet_error(error: Exception) -> AlexnetError | None:
    """Return the error as it is reported; None for a bug, which keeps its traceback."""
    if isinstance(error, AlexnetError):
        return error
    if is_out_of_memory(error):
        hint = "free some memory, or choose a smaller --batch-size or --image-size"
        return AlexnetError("not enough memory", hint=hint, code="out_of_memory")
    if isinstance(error, ModuleNotFoundError):
        return AlexnetError(
            f"this command needs a package that is not installed: {error.name}",
            hint="see all that is missing, and its fix: alexnet doctor",
            code="package_missing",
        )
    if not isinstance(error, OSError):
        return None
    message, hint = str(error), "check that the path exists and its permissions"
    if error.strerror:
        where = error.filename or "writing the output"  # files of our own have names
        message = f"{error.strerror}: {where}"
        hint = "free some space" if error.errno == errno.ENOSPC else hint
    return AlexnetError(message, hint=hint, code="os_error")


def is_completing() -> bool:
    """Return True if a shell asks for completions."""
    return any(name.endswith("_COMPLETE") for name in os.environ)


def _with_newest(arguments: list[str]) -> list[str]:
    """Give `--resume` without a run its value: Typer has no option with an optional value."""
    if "--resume" not in arguments:
        return arguments
    from alexnet_cli.run_folder import NEWEST

    following = [*arguments[1:], "-"]
    return [
        f"{argument}={NEWEST}" if argument == "--resume" and after.startswith("-") else argument
        for argument, after in zip(arguments, following, strict=True)
    ]


def _stop_at_once_on_signals() -> None:
    """Make Ctrl-C and SIGTERM end the process with their exit codes at any point.

    Training replaces these handlers by ones that save first. An exception would not do: raised
    inside an import or a callback from C++ it is swallowed, or aborts the process.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        # Where the signal came in the middle of a write, Python refuses another to the same stream.
        with contextlib.suppress(RuntimeError):
            sys.stdout.flush()
        with contextlib.suppress(RuntimeError):
            report_error("interrupted", None, "interrupted", as_json="--json" in sys.argv)
        remove_temporaries()
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
