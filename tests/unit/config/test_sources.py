from pathlib import Path

import pytest

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.config.sources import SourceKind, ValueSource, read_config, resolve_config
from alexnet_cli.errors import UsageError

FLAG = ValueSource(SourceKind.FLAG, "--epochs")
VARIABLE = ValueSource(SourceKind.ENVIRONMENT, "ALEXNET_CROP_SIZE")
FILE = ValueSource(SourceKind.FILE, "mine.toml")


def resolve(values, given):
    return resolve_config({**TrainConfig().model_dump(), **values}, given)


def test_what_the_user_sets_beats_the_recipe_which_beats_the_default():
    values = {"recipe": "fast", "epochs": 3, "momentum": 0.5}
    resolved = resolve(values, {"recipe": FILE, "epochs": FLAG, "momentum": FILE})
    config, sources = resolved.config, resolved.sources
    assert (config.epochs, sources["epochs"]) == (3, FLAG)
    assert (config.momentum, sources["momentum"]) == (0.5, FILE)
    assert (config.schedule, str(sources["schedule"])) == ("linear", "recipe fast")
    assert (config.batch_size, str(sources["batch_size"])) == (128, "default")
    assert set(sources) == set(TrainConfig.model_fields)


def test_a_value_that_was_not_given_is_the_recipes():
    resolved = resolve({"recipe": "fast"}, {"recipe": FLAG})
    assert resolved.config.epochs == 15
    assert resolved.sources["epochs"].kind is SourceKind.RECIPE


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        (FLAG, "--epochs 0: "),
        (ValueSource(SourceKind.ENVIRONMENT, "ALEXNET_EPOCHS"), "ALEXNET_EPOCHS=0: "),
        (FILE, "mine.toml: epochs = 0: "),
    ],
)
def test_a_wrong_value_is_named_as_it_was_written(origin, words):
    with pytest.raises(UsageError) as caught:
        resolve({"epochs": 0}, {"epochs": origin})
    assert caught.value.message.startswith(words)


def test_values_that_do_not_agree_are_named_with_their_places():
    with pytest.raises(UsageError) as caught:
        resolve({"crop_size": 33, "image_size": 32}, {"crop_size": VARIABLE, "image_size": FILE})
    assert caught.value.message == (
        "the options: crop_size 33 is larger than image_size 32 "
        "(image_size: mine.toml; crop_size: ALEXNET_CROP_SIZE)"
    )


def test_a_file_is_checked_value_by_value(isolated):
    path = Path("mine.toml")
    path.write_text("freeze = 'features'")  # the weights may be a flag
    assert read_config(path) == {"freeze": "features"}
    path.write_text("freeze = 'features'\npad = -1")
    with pytest.raises(UsageError, match=r"^mine.toml: pad = -1: "):
        read_config(path)
