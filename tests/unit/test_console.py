"""Colours, tables and the next commands on a terminal and in a pipe."""

import io
import sys
from pathlib import Path

import pytest

from alexnet_cli.console import (
    csv_row,
    has_colour,
    hide_secrets,
    print_path,
    print_table,
    report_error,
    suggest,
)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "variables", "expected"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
        (io.StringIO(), {"FORCE_COLOR": "1"}, True),
        (io.StringIO(), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colours_follow_the_terminal_and_the_variables(stream, variables, expected, monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm", **variables}.items():
        monkeypatch.setenv(name, value)
    assert has_colour(stream) == expected


def test_an_error_is_red_on_a_terminal_and_an_interruption_is_no_error(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    report_error("no run", "train one", "no_run", as_json=False)
    report_error("interrupted", None, "interrupted", as_json=False)
    first, hint, last = sys.stderr.getvalue().splitlines()
    assert (first, hint) == ("\x1b[1;31merror:\x1b[0m no run", "\x1b[2mhint: train one\x1b[0m")
    assert last == "interrupted"


def test_a_table_in_a_pipe_is_plain_columns(capsys, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    print_table(("name", "size"), [("a\x1bb", "1"), ("c", "1,000")], right=("size",), caption="end")
    assert capsys.readouterr().out.splitlines() == [
        "name     size",
        r"a\x1bb      1",
        "c       1,000",
        "end",
    ]


def test_next_commands_go_to_stderr_unless_quiet(capsys, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    suggest("alexnet evaluate", "alexnet report")
    suggest("alexnet export", quiet=True)
    assert capsys.readouterr() == ("", "next:\n  alexnet evaluate\n  alexnet report\n")


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1", "'+1"),
        ("-1.png", "'-1.png"),
        ("@SUM", "'@SUM"),
        ("\t=1", "\\t=1"),
        ("\x1b[2Jred", "\\x1b[2Jred"),
        ("a=1.png", "a=1.png"),
        (-1.5, -1.5),
        (None, None),
    ],
)
def test_a_cell_is_neither_computed_nor_obeyed(cell, expected):
    assert csv_row([cell]) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(https://me:se@cret@host/a; https://b)", "(https://host/a; https://b)"),
        ("s3://token@host?X-Signature=secret&b=c, d", "s3://host?… d"),
        ("is it http://host/a@b?", "is it http://host/a@b?"),
        ("a@b://x", "a@b://x"),
    ],
)
def test_addresses_are_shown_without_secrets(text, expected):
    assert hide_secrets(text) == expected


@pytest.mark.parametrize(
    ("stream", "expected"), [(Terminal(), "a\\x1b[2J\n"), (io.StringIO(), "a\x1b[2J\n")]
)
def test_a_path_is_escaped_on_a_terminal_only(stream, expected, monkeypatch):
    monkeypatch.setattr(sys, "stdout", stream)
    print_path(Path("a\x1b[2J"))
    assert stream.getvalue() == expected
