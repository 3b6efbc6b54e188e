"""The flags are a promise: none drifts or vanishes by accident.

After an intended change, write the file anew:
`python tests/architecture/test_option_surface.py > tests/architecture/option_surface.txt`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from alexnet_cli.cli.app import COMMANDS, build_app

_PINNED = Path(__file__).with_name("option_surface.txt")


def _lines(name: str, command: Any) -> Iterator[str]:
    for parameter in command.params:
        spellings = [*parameter.opts, *parameter.secondary_opts]
        yield f"{name} {' '.join(spellings)} = {parameter.default}"
    for below, inner in getattr(command, "commands", {}).items():
        yield from _lines(f"{name} {below}", inner)


def describe() -> str:
    group = get_command(build_app())
    lines = [line for name in COMMANDS for line in _lines(name, group.commands[name])]
    return "\n".join(lines) + "\n"


def test_options_are_as_pinned() -> None:
    assert describe() == _PINNED.read_text()


if __name__ == "__main__":
    print(describe(), end="")  # noqa: T201
