"""The pages that are made from the commands are fresh, and every help page can be relied on."""

import json
import shlex
from pathlib import Path

import pytest

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.config.sources import config_schema, config_text
from tests.architecture import cli_page

_PAGES = {name: (command, text) for name, command, text in cli_page.pages()}
_SCHEMA = Path(__file__).parents[2] / "docs" / "config.schema.json"


def test_the_page_is_fresh():
    assert cli_page.PAGE.read_text() == cli_page.render(), (
        "run: python -m tests.architecture.cli_page"
    )


def test_the_schema_is_fresh():
    assert json.loads(_SCHEMA.read_text()) == config_schema(), (
        "run: alexnet config --schema > docs/config.schema.json"
    )


def test_a_process_prints_the_same_help_at_80_columns(alexnet_process):
    result = alexnet_process("train", "--help", env={"COLUMNS": "80"})
    assert result.stdout == _PAGES["alexnet train"][1] + "\n"


@pytest.mark.parametrize("name", _PAGES)
def test_help_names_every_option_uncut_and_fits(name):
    command, text = _PAGES[name]
    words = set(text.replace(",", " ").split())
    for parameter in command.params:
        if parameter.param_type_name == "option":
            assert {*parameter.opts, *parameter.secondary_opts} <= words
        assert parameter.help
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("train", "a tenth, at most 5,000"),
        ("train", "90, by recipe"),
        ("train", "released, by recipe"),
        ("data show", "2, by recipe"),
        ("verify-resume", "shapes"),
        ("verify-resume", "8000"),
        ("verify-resume", "he, by recipe"),
    ],
)
def test_a_default_is_that_of_the_command(name, default):
    text = " ".join(_PAGES[f"alexnet {name}"][1].split())
    assert f"[default: {default}]" in text


@pytest.mark.parametrize("name", _PAGES)
def test_examples_are_commands_that_are_understood(name, isolated):
    run = isolated / "runs" / "alexnet-cifar-cifar10"
    run.mkdir(parents=True)
    (run / "config.toml").write_text(config_text(TrainConfig()))
    command, text = _PAGES[name]
    lines = command.epilog.splitlines()
    assert 2 <= len(lines) <= (5 if name != "alexnet" else 7)
    assert text.endswith("Examples:\n" + "\n".join(f"  {line}" for line in lines))
    for line in lines:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
        words = words[words.index("alexnet") + 1 :]
        ends = [index for index, word in enumerate(words) if word in ("|", ">", "<")]
        assert cli_page.parse(words[: ends[0]] if ends else words).startswith(name)


@pytest.mark.parametrize("line", ["train --epoch 3", "train --epochs x", "data verify x"])
def test_a_wrong_example_would_be_noticed(line):
    with pytest.raises(Exception, match=r"No such option|valid integer|unexpected extra"):
        cli_page.parse(line.split())
