"""How `--help` looks: plain text, options in groups, names uncut, an example on each line."""

import inspect
from collections.abc import Iterator
from typing import Any

from typer.core import TyperCommand, TyperGroup

_WHOLE = "\N{NON-BREAKING HYPHEN}"  # while lines are broken, so that no flag is


class HelpCommand(TyperCommand):
    """A command with such a page."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page."""
        _write_page(self, ctx, formatter)


class HelpGroup(TyperGroup):
    """A group of commands with such a page."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page."""
        _write_page(self, ctx, formatter)


def examples_text(examples: tuple[str, ...]) -> str:
    """Return a command's examples as its epilog: one a line."""
    return "\n".join(examples)


def _write_page(command: TyperCommand | TyperGroup, context: Any, formatter: Any) -> None:
    command.format_usage(context, formatter)
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(_unbroken(inspect.cleandoc(command.help or "")))
    for title, rows in _sections(command, context):
        with formatter.section(title):
            formatter.write_dl([(name, _unbroken(words)) for name, words in rows])
    if command.epilog:
        with formatter.section("Examples"):
            for line in command.epilog.splitlines():
                formatter.write(f"  {line}\n")
    formatter.buffer[:] = [text.replace(_WHOLE, "-") for text in formatter.buffer]


def _unbroken(text: str) -> str:
    return text.replace("-", _WHOLE)


def _sections(
    command: TyperCommand | TyperGroup, context: Any
) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield arguments, options by group, options of no group, and the commands of a group."""
    arguments: list[tuple[str, str]] = []
    ungrouped: list[tuple[str, str]] = []
    grouped: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(context):
        row = parameter.get_help_record(context)
        if row is None:
            continue
        group = getattr(parameter, "rich_help_panel", None)
        if parameter.param_type_name == "argument":
            name, words = row
            arguments.append((name.partition(" ")[0], words))  # without its type, or all choices
        elif group:
            grouped.setdefault(group, []).append(row)
        else:
            ungrouped.append(row)
    commands = [
        (name, inner.short_help or (inner.help or "").partition("\n")[0])
        for name, inner in getattr(command, "commands", {}).items()
    ]
    sections = {"Arguments": arguments, **grouped, "Options": ungrouped, "Commands": commands}
    yield from ((title, rows) for title, rows in sections.items() if rows)
