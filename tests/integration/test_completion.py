"""The shell's Tab key, by the protocol that the installed scripts speak; PyTorch stays out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """
import sys
from alexnet_cli.cli.app import main
try:
    main()
finally:
    assert 'torch' not in sys.modules
"""


def _asked(shell: str, line: str) -> str:
    """Return the answer to Tab at the end of a line."""
    words = line.split(" ")
    question = {
        "bash": {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
    }[shell]
    result = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        capture_output=True, text=True, check=True,
        env={**os.environ, **question, "_ALEXNET_COMPLETE": f"complete_{shell}"},
    )  # fmt: skip
    return result.stdout


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("alexnet tr", ["train"]),
        ("alexnet train --mo", ["--model", "--momentum", "--momentum-kind"]),
        ("alexnet data sh", ["show"]),
        ("alexnet train --schedule in", ["inverse-time"]),
    ],
)
def test_tab_in_bash(line: str, answers: list[str]) -> None:
    assert _asked("bash", line).split() == answers


def test_tab_in_zsh() -> None:
    assert '"train":"Train a network' in _asked("zsh", "alexnet tr")
    answer = _asked("zsh", "alexnet train --mo")
    assert all(f'"{flag}":' in answer for flag in ("--model", "--momentum", "--momentum-kind"))


def test_the_installed_script_answers_in_a_real_bash(isolated: Path) -> None:
    command = isolated / "bin" / "alexnet"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m alexnet_cli "$@"\n')
    command.chmod(0o755)
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    session = (
        "alexnet --install-completion; . ~/.bashrc\n"
        "COMP_WORDS=(alexnet tr) COMP_CWORD=1; _alexnet_completion alexnet\n"
        'echo "answer: ${COMPREPLY[@]}"'
    )
    result = subprocess.run(
        ["bash", "-c", session],
        capture_output=True, text=True, check=True,
        env={**os.environ, "HOME": str(isolated), "PATH": path},
    )  # fmt: skip
    assert result.stdout.splitlines()[-1] == "answer: train"
