import pytest
from typer.main import get_command

from alexnet_cli.cli.app import build_app
from alexnet_cli.config.sources import VARIABLES, known_variables, warn_of_unknown_variables


def _read_by(command):
    for parameter in command.params:
        names = parameter.envvar or ()
        yield from [names] if isinstance(names, str) else names
    for inner in getattr(command, "commands", {}).values():
        yield from _read_by(inner)


def test_every_variable_that_an_option_reads_is_known():
    assert set(_read_by(get_command(build_app()))) <= set(known_variables())


def test_the_variables_that_are_explained_are_known():
    assert set(VARIABLES) <= set(known_variables())
    assert all(VARIABLES.values())


@pytest.mark.parametrize(("rank", "is_told"), [(None, True), ("0", True), ("1", False)])
def test_a_variable_that_nothing_reads_is_told_once(rank, is_told, monkeypatch, capsys):
    monkeypatch.setenv("ALEXNET_EPOCH", "3")
    monkeypatch.setenv("ALEXNET_EPOCHS", "3")
    monkeypatch.setenv("ALEXNET_OFFLINE", "1")
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    warn_of_unknown_variables()
    words = "warning: nothing reads ALEXNET_EPOCH; did you mean ALEXNET_EPOCHS?\n"
    assert capsys.readouterr().err == (words if is_told else "")
