"""The shell's Tab key, by the protocol that the installed scripts speak; PyTorch stays out."""

import json
import os
import subprocess
import sys

_SCRIPT = """
import json, os, sys
from alexnet_cli.cli.main import run
for question in json.load(sys.stdin):
    os.environ.update(question)
    try:
        run([])
    except SystemExit:
        print(end='\\0')
assert 'torch' not in sys.modules
"""


def _asked(shell, lines):
    """Return the answers to Tab at the end of each line."""
    questions = []
    for line in lines:
        words = line.split(" ")
        question = {
            "bash": {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)},
            "zsh": {"_TYPER_COMPLETE_ARGS": line},
        }[shell]
        questions.append({**question, "_ALEXNET_COMPLETE": f"complete_{shell}"})
    result = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        input=json.dumps(questions), capture_output=True, text=True, check=True,
    )  # fmt: skip
    *answers, rest = result.stdout.split("\0")
    assert rest == ""
    return answers


def test_tab_in_bash():
    expected = {
        "alexnet tr": ["train"],
        "alexnet train --mo": ["--model", "--momentum", "--momentum-kind"],
        "alexnet data sh": ["show"],
        "alexnet train --schedule in": ["inverse-time"],
    }
    answers = _asked("bash", list(expected))
    assert [answer.split() for answer in answers] == list(expected.values())


def test_tab_in_zsh():
    command, answer = _asked("zsh", ["alexnet tr", "alexnet train --mo"])
    assert '"train":"Train a network' in command
    assert all(f'"{flag}":' in answer for flag in ("--model", "--momentum", "--momentum-kind"))


def test_the_installed_script_answers_in_a_real_bash(isolated):
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
