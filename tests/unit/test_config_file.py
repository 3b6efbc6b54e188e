import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft7Validator
from pydantic import ValidationError

from alexnet_cli.config.recipes import demo_config, recipe_settings
from alexnet_cli.config.schema import Recipe, TrainConfig
from alexnet_cli.config.sources import config_schema, config_text, read_config
from alexnet_cli.errors import UsageError
from alexnet_cli.networks import Network

VALIDATOR = Draft7Validator(config_schema())


def configurations():
    yield TrainConfig()
    yield demo_config()
    yield TrainConfig(lrn=True, data='a "b" \\ c', schedule="stages", drop_epochs="3,5")
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


@pytest.mark.parametrize(
    "line",
    [
        "epochs = 0", "epochs = 100001", "epochs = 1.5", "epochs = 'many'", "learning_rate = 0",
        "learning_rate = 100.1", "momentum = 1", "dropout = -0.1", "model = 'vgg'", "lrn = 'often'",
        "schedule = 'cosine'", "flip = 'maybe'", "seed = 2147483648", "data = 3", "epoch = 3",
        "drop_epochs = [3, 5]", "pad = 65",
    ],
)  # fmt: skip
def test_the_schema_refuses_what_the_program_refuses(line):
    values = tomllib.loads(line)
    assert not VALIDATOR.is_valid(values)
    with pytest.raises(ValidationError):
        TrainConfig(**values)


def test_an_editor_finds_words_bounds_and_choices():
    schema = config_schema()
    fields = schema["properties"]
    assert list(fields) == list(TrainConfig.model_fields)
    assert schema["additionalProperties"] is False
    assert "$id" not in schema
    assert "$ref" not in str(schema)
    for name, field in TrainConfig.model_fields.items():
        assert fields[name]["description"] == field.description
        assert fields[name]["default"] == TrainConfig().model_dump(mode="json")[name]
    assert fields["batch_size"]["maximum"] == 65_536
    assert fields["model"]["enum"] == list(Network)


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ("epoch = 3", "unknown key 'epoch'", "did you mean 'epochs'?"),
        ("zzz = 3", "unknown key 'zzz'", "alexnet config"),
        ("epochs = ", "not valid TOML", "alexnet config --toml"),
    ],
)
def test_a_file_is_refused_in_words(text, words, hint, tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_config(path)
    assert caught.value.message.startswith(str(path))
    assert words in caught.value.message
    assert hint in caught.value.hint


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="cannot read"):
        read_config(Path(tmp_path / "none.toml"))
