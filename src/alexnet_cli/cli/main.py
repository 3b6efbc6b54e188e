"""The door to the command line, and the only place where errors become words and exit codes.

It does not import Typer: a plain `alexnet predict` has answered before Typer would be there.
"""

import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

from alexnet_cli.cli.predict_request import PredictRequest, read_plainly
from alexnet_cli.console import report_error
from alexnet_cli.errors import AlexnetError


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its status.

    0 ok, 1 failure, 2 usage, 130 Ctrl-C, 143 SIGTERM.
    """
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def start() -> NoReturn:
    """Run the process's command line; after a prediction, without taking Python apart first."""
    status = run(sys.argv[1:])
    if sys.argv[1:2] != ["predict"]:
        sys.exit(status)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit code."""
    for stream in (sys.stdout, sys.stderr):  # a file name may hold bytes that are no text
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    _stop_at_once_on_signals()
    debug = "--debug" in arguments or os.environ.get("ALEXNET_DEBUG", "") not in ("", "0")
    arguments = [argument for argument in arguments if argument != "--debug"]  # valid anywhere

    def invoke() -> int:
        is_predict = arguments[:1] == ["predict"]
        request = read_plainly(arguments[1:]) if is_predict and not _is_completing() else None
        return _through_typer(arguments, debug=debug) if request is None else _predict(request)

    return invoke() if debug else _with_errors_in_words(invoke, as_json="--json" in arguments)


def _is_completing() -> bool:
    return any(name.endswith("_COMPLETE") for name in os.environ)


def _predict(request: PredictRequest) -> int:
    gc.disable()  # nothing of what imports create is garbage
    from alexnet_cli.cli.prediction import predict

    gc.enable()
    return predict(request)


def _through_typer(arguments: list[str], *, debug: bool) -> int:
    from alexnet_cli.cli.app import run_typer

    return run_typer(_with_newest(arguments), debug=debug)


def _stop_at_once_on_signals() -> None:
    """Make Ctrl-C and SIGTERM end the process with their exit codes, whatever it is doing.

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


def _with_newest(arguments: list[str]) -> list[str]:
    """Fill in what `--resume` alone stands for: Typer has no option with a value left out."""
    if "--resume" not in arguments:
        return arguments
    from alexnet_cli.runs import NEWEST

    following = [*arguments[1:], "-"]
    return [
        f"{argument}={NEWEST}" if argument == "--resume" and after.startswith("-") else argument
        for argument, after in zip(arguments, following, strict=True)
    ]


def _with_errors_in_words(invoke: Callable[[], int], *, as_json: bool) -> int:
    try:
        status = invoke()
        sys.stdout.flush()
    except AlexnetError as error:
        report_error(error.message, error.hint, error.code, as_json=as_json)
        return error.exit_code
    except BrokenPipeError:  # `| head` has seen enough; Python would complain at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        message = f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
        report_error(message, "check that the path exists and its permissions", "os_error",
                     as_json=as_json)  # fmt: skip
        return 1
    except MemoryError:
        hint = "choose a smaller --batch-size or --image-size"
        report_error("not enough memory", hint, "out_of_memory", as_json=as_json)
        return 1
    return status
