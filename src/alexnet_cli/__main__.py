"""The `alexnet` command, also as `python -m alexnet_cli`.

Signals come first: the imports of the command line take a while, and Ctrl-C in one of them would
print a traceback.
"""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def start() -> NoReturn:
    """Run the process's command line and exit."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    from alexnet_cli.cli.main import start

    start()


def _stop(number: int, _frame: FrameType | None) -> None:
    """End the process with a line, as `cli.main` does once it has been imported."""
    text = "interrupted"
    if "--json" in sys.argv:
        text = f'{{"error": {{"code": "{text}", "message": "{text}", "hint": null}}}}'
    try:
        os.write(2, f"{text}\n".encode())
    finally:  # even if nobody reads it
        os._exit(128 + number)


if __name__ == "__main__":
    start()
