"""The entry point: how a command ends, and what it prints then."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet_cli.cli import models
from alexnet_cli.errors import DataError, UsageError

ALEXNET = (sys.executable, "-m", "alexnet_cli")


@pytest.fixture
def failing(alexnet, monkeypatch):
    """Return a function that runs a command which raises an exception."""

    def run(error, *flags):
        def command(json: bool = False) -> None:
            raise error

        monkeypatch.setattr(models, "command", command)
        return alexnet("models", *flags)

    return run


@pytest.mark.parametrize(
    ("error", "status", "message", "code"),
    [
        (DataError("x is damaged", hint="delete it", code="damaged"), 1, "x is damaged", "damaged"),
        (UsageError("no such flag", hint="leave it out"), 2, "no such flag", "usage"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), 1, "No such file: x", "os_error"),
        (OSError("no space"), 1, "no space", "os_error"),
        (MemoryError(), 1, "not enough memory", "out_of_memory"),
    ],
    ids=["ours", "usage", "file", "system", "memory"],
)
def test_an_error_has_its_exit_code_a_message_and_a_hint(failing, error, status, message, code):
    result = failing(error)
    assert (result.returncode, result.stdout) == (status, "")
    first, hint = result.stderr.splitlines()
    assert first == f"error: {message}"
    assert hint.startswith("hint: ")
    document = json.loads(failing(error, "--json").stderr)["error"]
    assert document == {"code": code, "message": message, "hint": hint.removeprefix("hint: ")}


def test_a_bug_keeps_its_traceback(failing):
    result = failing(ZeroDivisionError("a bug"))
    assert result.returncode == 1
    assert result.stderr.startswith("Traceback")
    assert result.stderr.endswith("ZeroDivisionError: a bug\n")


@pytest.mark.parametrize(
    "arguments", [("--debug", "evaluate"), ("evaluate", "--debug"), ("frobnicate", "--debug")]
)
def test_debug_keeps_the_traceback_of_an_error(alexnet, arguments):
    assert alexnet(*arguments).stderr.startswith("Traceback")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_command_with_its_exit_code(number, status):
    os.mkfifo("settings.toml")
    command = [*ALEXNET, "config", "--config", "settings.toml"]
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process,
        Path("settings.toml").open("w"),
    ):  # opens as soon as the command reads it
        process.send_signal(number)
        output = process.communicate(timeout=60)
    assert (process.returncode, *output) == (status, "", "interrupted\n")


@pytest.mark.parametrize("arguments", ["--help", "data", "config", "config --debug"])
def test_a_closed_pipe_ends_a_command_quietly(arguments):
    reader, writer = os.pipe()
    os.close(reader)  # as `| head` does, but before the first byte
    with os.fdopen(writer, "w") as stdout:
        result = subprocess.run(
            [*ALEXNET, *arguments.split()],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (result.returncode, result.stderr) == (0, "")
