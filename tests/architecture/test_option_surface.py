"""The flags are a promise: none drifts or vanishes by accident.

After an intended change, write the file anew:
`python tests/architecture/test_option_surface.py > tests/architecture/option_surface.txt`.
"""

from pathlib import Path

from typer.main import get_command

from alexnet_cli.cli.app import COMMANDS, build_app

_PINNED = Path(__file__).with_name("option_surface.txt")


def describe() -> str:
    group = get_command(build_app())
    lines = []
    for name in COMMANDS:
        for parameter in group.commands[name].params:
            spellings = [*parameter.opts, *parameter.secondary_opts]
            lines.append(f"{name} {' '.join(spellings)} = {parameter.default}")
    return "\n".join(lines) + "\n"


def test_options_are_as_pinned() -> None:
    assert describe() == _PINNED.read_text()


if __name__ == "__main__":
    print(describe(), end="")  # noqa: T201
