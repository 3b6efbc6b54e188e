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
        (RuntimeError("can't allocate memory"), 1, "not enough memory", "out_of_memory"),
    ],
    ids=["ours", "usage", "file", "system", "memory", "memory of a library"],
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


@pytest.mark.parametrize("module", ["alexnet_cli.cli.main", "alexnet_cli.files", "typer", "numpy"])
def test_an_interrupted_import_ends_in_a_line(module):
    program = f"""if True:
        import os, signal, sys
        from importlib.abc import MetaPathFinder
        class Interrupt(MetaPathFinder):
            def find_spec(self, name, path, target=None):
                if name == {module!r}:
                    os.kill(os.getpid(), signal.SIGINT)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.meta_path.insert(0, Interrupt())
        from alexnet_cli.__main__ import start
        sys.argv = ["alexnet", "data"]
        start()"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


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


@pytest.mark.parametrize(
    ("line", "status", "stdout", "stderr"),
    [
        ("data >&-", 0, "", ""),
        ("data 2>&-", 0, "cifar10", ""),
        ("data <&-", 0, "cifar10", ""),
        ("data 2>/dev/full", 0, "cifar10", ""),
        ("data >/dev/full", 1, "", "No space left"),
        ("train --data nothing >&-", 2, "", "'nothing'"),
        ("train --data nothing 2>&-", 2, "", ""),
        ("train --data nothing 2>/dev/full", 2, "", ""),
    ],
)
def test_a_closed_or_full_stream(line, status, stdout, stderr):
    command = ["sh", "-c", f'"$@" {line}', "sh", *ALEXNET]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert stdout in done.stdout
    assert bool(done.stdout) == bool(stdout)
    assert stderr in done.stderr
    assert bool(done.stderr) == bool(stderr)
    assert "Traceback" not in done.stderr


LONG = """
import sys
from alexnet_cli.console import note, prepare_streams
prepare_streams()
for number in range(20_000):
    note(f"epoch {number}")
print("complete")
"""


def test_notes_go_on_when_their_reader_has_left(tmp_path):
    line = f'{{ "$0" -c "$1" >{tmp_path}/result; echo $? >{tmp_path}/status; }} 2>&1 | head -1'
    subprocess.run(["sh", "-c", line, sys.executable, LONG], check=True, capture_output=True)
    assert (tmp_path / "result").read_text() == "complete\n"
    assert (tmp_path / "status").read_text() == "0\n"


def test_a_deleted_working_folder(tmp_path):
    line = f'mkdir {tmp_path}/gone; cd {tmp_path}/gone; rmdir {tmp_path}/gone; exec "$@"'
    command = ["sh", "-c", line, "sh", *ALEXNET, "train", "--data", "shapes"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the working folder was deleted\n")
