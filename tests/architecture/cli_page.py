"""The page docs/cli.md, made from the commands themselves.

After a change of a flag or a help text: `python -m tests.architecture.cli_page`.
"""

from pathlib import Path

from typer.main import get_command

from alexnet_cli.cli.app import CONTEXT_SETTINGS, build_app
from alexnet_cli.cli.main import _with_newest
from alexnet_cli.config.schema import TrainConfig, flag_of, variable_of
from alexnet_cli.config.sources import VARIABLES

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
_WIDTH = 78  # of a terminal of 80 columns

_INTRODUCTION = """# The commands

The output of `alexnet COMMAND --help`. Every flag works with underscores too (`--batch_size=256`).
Exit codes: 0 ok, 1 failure, 2 usage, 130 Ctrl-C, 143 SIGTERM. A test fails if this page is stale;
`python -m tests.architecture.cli_page` regenerates it.
"""

_FILES = """## Configuration files

`--config FILE` reads a TOML file whose keys are the settings of `alexnet train`. Every run folder
has one, `config.toml`, and `alexnet config --toml` prints one. `alexnet config` shows each setting
with its source.

[`config.schema.json`](config.schema.json) is the JSON schema of such a file (draft 7), also printed
by `alexnet config --schema`. An editor with support for TOML schemas, such as Taplo (Even Better
TOML in VS Code), then completes keys and marks wrong values. Write the schema next to the file,

```sh
alexnet config --schema > alexnet.schema.json
```

and start the file with this line:

```toml
#:schema ./alexnet.schema.json
```

Without an editor, `taplo check` does the same. A schema cannot check settings that depend on each
other; `alexnet train --dry-run` does.

The `config.toml` of a run has no such line, because the path would be wrong on another machine.
"""


def pages():
    """Yield each command's full name, the command, and its help on a terminal of 80 columns."""
    yield from _pages_below("alexnet", get_command(build_app()), None)


def _pages_below(name, command, parent):
    last = name.rsplit(maxsplit=1)[-1]
    settings = {**CONTEXT_SETTINGS, "terminal_width": _WIDTH, "resilient_parsing": True}
    context = command.make_context(last, [], parent=parent, **settings)
    yield name, command, command.get_help(context)
    for below, inner in getattr(command, "commands", {}).items():
        yield from _pages_below(f"{name} {below}", inner, context)


def parse(words):
    """Parse a command line without `alexnet`, as it would be, and return the command's name."""
    words = _with_newest(words[1:] if words[:1] == ["help"] else words)
    name, command = "alexnet", get_command(build_app())
    while words and words[0] in getattr(command, "commands", {}):
        name, command, words = f"{name} {words[0]}", command.commands[words[0]], words[1:]
    is_group, is_command = hasattr(command, "commands"), words and not words[0].startswith("-")
    assert not (is_group and is_command), f"there is no command {name} {words[0]}"
    command.make_context(name, words, **CONTEXT_SETTINGS)
    return name


def render():
    """Return the page."""
    commands = [f"## {name}\n\n```text\n{text}\n```\n" for name, _, text in pages()]
    return "\n".join([_INTRODUCTION, *commands, _variables(), _FILES])


def _variables():
    rows = [f"| `{name}` | {words} |" for name, words in VARIABLES.items()]
    rows += [
        f"| `{variable_of(name)}` | Default of `{flag_of(name)}`. |"
        for name in TrainConfig.model_fields
    ]
    head = "## Environment variables\n\n"
    head += "`train` and `doctor` warn of a variable `ALEXNET_…` that nothing reads.\n\n"
    return head + "\n".join(["| variable | what it does |", "| --- | --- |", *rows]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render())
