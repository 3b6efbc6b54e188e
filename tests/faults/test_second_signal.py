"""Somebody who does not want to wait for the save."""

import signal
import subprocess
import sys
import time
from typing import IO, cast

import pytest

pytestmark = [pytest.mark.alone, pytest.mark.slow]

_LONG_UPDATES = ("train", "--data", "shapes", "--batch-size", "1500", "--val-size", "1000")


def test_a_second_ctrl_c_ends_it_at_once() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "alexnet_cli", *_LONG_UPDATES], stderr=subprocess.PIPE, text=True
    ) as process:
        lines = cast("IO[str]", process.stderr)
        assert any(line.startswith("first update") for line in lines)
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        assert process.poll() is None  # it is in the middle of an update
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        assert process.wait(timeout=20) == -signal.SIGINT
        assert time.monotonic() - begin < 1
