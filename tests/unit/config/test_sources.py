import re
from pathlib import Path

import pytest
from jsonschema import Draft7Validator
from typer.main import get_command

from alexnet_cli.cli.app import build_app
from alexnet_cli.config.recipes import demo_config, recipe_settings
from alexnet_cli.config.schema import Recipe, TrainConfig
from alexnet_cli.config.sources import (
    SourceKind,
    ValueSource,
    config_schema,
    config_text,
    known_variables,
    read_config,
    resolve_config,
    warn_of_unknown_variables,
)
from alexnet_cli.errors import UsageError
from alexnet_cli.networks import Network

FLAG = ValueSource(SourceKind.FLAG, "--epochs")
VARIABLE = ValueSource(SourceKind.ENVIRONMENT, "ALEXNET_CROP_SIZE")
FILE = ValueSource(SourceKind.FILE, "mine.toml")
VALIDATOR = Draft7Validator(config_schema())


def resolve(values, given):
    return resolve_config({**TrainConfig().model_dump(), **values}, given)


def test_what_the_user_sets_beats_the_recipe_which_beats_the_default():
    values = {"recipe": "fast", "epochs": 3, "momentum": 0.5}
    config, sources = resolve(values, {"recipe": FILE, "epochs": FLAG, "momentum": FILE})
    assert (config.epochs, sources["epochs"]) == (3, FLAG)
    assert (config.momentum, sources["momentum"]) == (0.5, FILE)
    assert (config.schedule, str(sources["schedule"])) == ("linear", "recipe fast")
    assert (config.batch_size, str(sources["batch_size"])) == (128, "default")
    assert set(sources) == set(TrainConfig.model_fields)


@pytest.mark.parametrize(
    ("source", "setting"),
    [
        (FLAG, "--epochs 0: "),
        (ValueSource(SourceKind.ENVIRONMENT, "ALEXNET_EPOCHS"), "ALEXNET_EPOCHS=0: "),
        (FILE, "mine.toml: epochs = 0: "),
    ],
)
def test_a_wrong_value_is_named_as_it_was_written(source, setting):
    with pytest.raises(UsageError) as caught:
        resolve({"epochs": 0}, {"epochs": source})
    assert caught.value.message.startswith(setting)


def test_values_that_do_not_agree_are_named_with_their_places():
    with pytest.raises(UsageError, match=r"\(image_size: mine.toml; crop_size: ALEXNET_CROP_SIZE"):
        resolve({"crop_size": 33, "image_size": 32}, {"crop_size": VARIABLE, "image_size": FILE})


def test_a_file_is_checked_value_by_value(isolated):
    path = Path("mine.toml")
    path.write_text("freeze = 'features'")  # the weights may be a flag
    assert read_config(path) == {"freeze": "features"}
    for line, message in {"pad = -1": "mine.toml: pad = -1: ", "zzz = 3": "mine.toml"}.items():
        path.write_text(f"freeze = 'features'\n{line}")
        with pytest.raises(UsageError, match=message):
            read_config(path)


@pytest.mark.parametrize(
    "line",
    ["epochs = true", 'epochs = "3"', "epochs = 3.5", 'lrn = "no"', "lrn = 0", 'pad = "auto"',
     "model = 3", "drop_epochs = [1.5]", "learning_rate = 2026-11-28", "learning_rate = false"],
)  # fmt: skip
def test_a_file_has_the_types_of_the_schema(line, isolated):
    Path("mine.toml").write_text(line)
    with pytest.raises(UsageError, match=re.escape(f"mine.toml: {line.partition(' ')[0]}")):
        read_config(Path("mine.toml"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_may_begin_with_a_byte_order_mark(encoding, isolated):
    Path("mine.toml").write_text('data = "grüße"', encoding=encoding)
    assert read_config(Path("mine.toml")) == {"data": "grüße"}


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16-le"])
def test_a_file_in_another_encoding_is_refused(encoding, isolated):
    Path("mine.toml").write_text('data = "grüße"', encoding=encoding)
    with pytest.raises(UsageError, match=r"mine\.toml"):
        read_config(Path("mine.toml"))


def configurations():
    yield TrainConfig()
    yield demo_config()
    yield TrainConfig(lrn=True, data='a "b" \\ c', schedule="stages", drop_epochs="3,5")
    yield TrainConfig(val_size=0.1)
    yield TrainConfig(val_size=20)
    yield TrainConfig(from_weights="owt", freeze="features", learning_rate=1e-5)
    for model in Network:
        for recipe in Recipe:
            try:
                settings = recipe_settings(recipe, model, "cifar10")
            except UsageError:
                continue
            yield TrainConfig(model=model, recipe=recipe, **settings)


def test_what_is_written_is_read_back_and_fits_the_schema(tmp_path):
    Draft7Validator.check_schema(VALIDATOR.schema)
    written = list(configurations())
    assert len(written) > 20
    for config in written:
        path = tmp_path / "c.toml"
        path.write_text(config_text(config))
        values = read_config(path)
        assert TrainConfig(**values) == config
        VALIDATOR.validate(values)


def _read_by(command):
    for parameter in command.params:
        names = parameter.envvar or ()
        yield from [names] if isinstance(names, str) else names
    for inner in getattr(command, "commands", {}).values():
        yield from _read_by(inner)


def test_every_variable_that_an_option_reads_is_known():
    assert set(_read_by(get_command(build_app()))) <= set(known_variables())


@pytest.mark.parametrize(("rank", "is_warned"), [(None, True), ("0", True), ("1", False)])
def test_a_variable_that_nothing_reads_is_warned_once(rank, is_warned, monkeypatch, capsys):
    monkeypatch.setenv("ALEXNET_EPOCH", "3")
    monkeypatch.setenv("ALEXNET_EPOCHS", "3")
    monkeypatch.setenv("ALEXNET_OFFLINE", "1")
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    warn_of_unknown_variables()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == is_warned
    assert all("ALEXNET_EPOCH;" in line and "ALEXNET_EPOCHS?" in line for line in lines)
