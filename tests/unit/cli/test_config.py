import json
from pathlib import Path

import pytest

from alexnet_cli.config.schema import TrainConfig

MINE = ("--recipe", "fast", "--no-lrn", "--seed", "7")


@pytest.fixture
def file(isolated):
    Path("mine.toml").write_text('activation = "tanh"\npad = 2\nbatch_size = 32\nseed = 1\n')
    return "mine.toml"


def test_the_table_has_the_source_of_each_value(file, alexnet, monkeypatch):
    monkeypatch.setenv("ALEXNET_BATCH_SIZE", "64")  # is in the file, too
    monkeypatch.setenv("ALEXNET_SEED", "5")  # is a flag, too
    result = alexnet("config", *MINE, "--config", file)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    rows = dict(line.split(maxsplit=1) for line in lines)
    assert list(rows) == list(TrainConfig.model_fields)
    for name, value, source in [
        ("seed", "7", "--seed"),
        ("lrn", "false", "--lrn"),
        ("batch_size", "64", "ALEXNET_BATCH_SIZE"),
        ("activation", "tanh", "mine.toml"),
        ("epochs", "15", "recipe fast"),
        ("momentum", "0.9", "default"),
    ]:
        assert rows[name].split(maxsplit=1) == [value, source]
    assert len({line.index(line.split(maxsplit=2)[1], 10) for line in lines}) == 1  # a column
    assert max(map(len, lines)) <= 80


def test_json_has_the_values_of_a_dry_run_and_their_sources(file, alexnet):
    arguments = (*MINE, "--config", file, "--data", "shapes")
    shown = json.loads(alexnet("config", *arguments, "--json").stdout)
    dry_run = json.loads(alexnet("train", *arguments, "--dry-run", "--json").stdout)
    assert {name: each["value"] for name, each in shown.items()}.items() <= dry_run.items()
    assert shown["pad"] == {"value": 2, "origin": "file", "name": "mine.toml"}
    assert shown["epochs"] == {"value": 15, "origin": "recipe", "name": "fast"}
    assert shown["momentum"] == {"value": 0.9, "origin": "default", "name": None}


def test_config_reads_what_toml_prints(file, alexnet):
    arguments = (*MINE, "--config", file)
    printed = alexnet("config", *arguments, "--toml").stdout
    Path("again.toml").write_text(printed)
    assert alexnet("config", "--config", "again.toml", "--toml").stdout == printed
    assert printed != alexnet("config", "--toml").stdout


def test_the_schema_is_printed_as_it_is_published(alexnet):
    published = Path(__file__).parents[3] / "docs" / "config.schema.json"
    assert alexnet("config", "--schema").stdout == published.read_text()


def test_a_misspelt_variable_is_a_warning(alexnet, monkeypatch):
    monkeypatch.setenv("ALEXNET_EPOCH", "3")
    result = alexnet("config")
    assert result.returncode == 0
    assert "did you mean ALEXNET_EPOCHS?" in result.stderr


@pytest.mark.parametrize(
    ("name", "value", "command"),
    [
        ("ALEXNET_EPOCHS", "abc", "config"),
        ("ALEXNET_FLIP", "maybe", "config"),
        ("ALEXNET_MODEL", "vgg", "config"),
        ("ALEXNET_PATIENCE", "0", "config"),
        ("ALEXNET_OFFLINE", "perhaps", "download"),
    ],
)
def test_a_wrong_variable_is_named(name, value, command, alexnet, monkeypatch):
    monkeypatch.setenv(name, value)
    result = alexnet(command)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {name}={value}: ")
