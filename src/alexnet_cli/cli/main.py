"""CLI entry point: signals, and the boundary that maps errors to messages and exit codes.

It does not import Typer: a plain `alexnet predict` has answered before Typer would be imported.
"""

import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

from alexnet_cli.cli.predict_request import read_plainly
from alexnet_cli.console import report_error
from alexnet_cli.errors import AlexnetError


def start() -> NoReturn:
    """Run the process's command line and exit; after a prediction without Python's clean-up."""
    status = run(sys.argv[1:])
    if sys.argv[1:2] != ["predict"]:
        sys.exit(status)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def main(arguments: Sequence[str]) -> NoReturn:
    """Run a command line and exit with its status: 0 ok, 1 failure, 2 usage, 130, 143 signals."""
    sys.exit(run(list(arguments)))


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit code."""
    for stream in (sys.stdout, sys.stderr):  # a file name may hold bytes that are not text
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    _stop_at_once_on_signals()
    debug = "--debug" in arguments or os.environ.get("ALEXNET_DEBUG", "") not in ("", "0")
    arguments = [argument for argument in arguments if argument != "--debug"]  # valid anywhere
    if debug:
        return _invoke(arguments, debug=True)
    return _report_errors(lambda: _invoke(arguments, debug=False), as_json="--json" in arguments)


def is_completing() -> bool:
    """Return True if a shell asks for completions."""
    return any(name.endswith("_COMPLETE") for name in os.environ)


def _invoke(arguments: list[str], *, debug: bool) -> int:
    """Run a plain `predict` at once, everything else through Typer."""
    is_predict = arguments[:1] == ["predict"] and not is_completing()
    request = read_plainly(arguments[1:]) if is_predict else None
    if request is None:
        from alexnet_cli.cli.app import run_typer

        return run_typer(_with_newest(arguments), debug=debug)
    gc.disable()  # nothing of what imports create is garbage
    from alexnet_cli.cli.prediction import predict

    gc.enable()
    return predict(request)


def _with_newest(arguments: list[str]) -> list[str]:
    """Give `--resume` without a run its value: Typer has no option with an optional value."""
    if "--resume" not in arguments:
        return arguments
    from alexnet_cli.runs import NEWEST

    following = [*arguments[1:], "-"]
    return [
        f"{argument}={NEWEST}" if argument == "--resume" and after.startswith("-") else argument
        for argument, after in zip(arguments, following, strict=True)
    ]


def _report_errors(invoke: Callable[[], int], *, as_json: bool) -> int:
    """Return the exit code of a command, after a message where it failed."""
    try:
        status = invoke()
        sys.stdout.flush()
    except AlexnetError as error:
        report_error(error.message, error.hint, error.code, as_json=as_json)
        return error.exit_code
    except BrokenPipeError:  # as with `| head`; Python would complain at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        message = f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
        hint = "check that the path exists and its permissions"
        report_error(message, hint, "os_error", as_json=as_json)
        return 1
    except MemoryError:
        hint = "choose a smaller --batch-size or --image-size"
        report_error("not enough memory", hint, "out_of_memory", as_json=as_json)
        return 1
    return status


def _stop_at_once_on_signals() -> None:
    """Make Ctrl-C and SIGTERM end the process with their exit codes at any point.

    Training replaces these handlers by ones that save first. An exception would not do: raised
    inside an import or a callback from C++ it is swallowed, or aborts the process.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        from alexnet_cli.files import remove_temporaries

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
