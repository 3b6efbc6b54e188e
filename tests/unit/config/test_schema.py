import os
import warnings

import pytest
from jsonschema import Draft7Validator
from pydantic import ValidationError

from alexnet_cli.config.schema import Schedule, TrainConfig, flag_metadata, help_text
from alexnet_cli.config.sources import config_schema

SCHEMA = Draft7Validator(config_schema())


def test_the_defaults_are_the_papers():
    config = TrainConfig()
    assert (config.batch_size, config.epochs, config.dropout, config.flip) == (128, 90, 0.5, True)
    assert (config.learning_rate, config.momentum, config.weight_decay) == (0.01, 0.9, 5e-4)
    assert (config.schedule, config.max_drops) == (Schedule.PLATEAU, 3)


@pytest.mark.parametrize("field", TrainConfig.model_fields)
def test_every_field_has_help_and_a_flag_and_is_in_the_hash(field):
    assert help_text(field)
    assert flag_metadata(field)
    values = TrainConfig().model_dump()
    assert TrainConfig(**values).sha256() == TrainConfig().sha256()
    other = TrainConfig.model_construct(**{**values, field: "other"})
    with warnings.catch_warnings(action="ignore"):  # about its type
        assert other.sha256() != TrainConfig().sha256()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0), ("epochs", 100_001), ("epochs", 1.5), ("batch_size", 0),
        ("batch_size", 65_537), ("learning_rate", 0), ("learning_rate", 100.1),
        ("learning_rate", float("nan")), ("learning_rate", float("inf")), ("momentum", -0.1),
        ("momentum", 1), ("momentum", float("nan")), ("weight_decay", -1e-9),
        ("weight_decay", 1.1), ("weight_decay", float("nan")), ("dropout", -0.1), ("dropout", 1),
        ("dropout", float("nan")), ("schedule", "exponential"), ("precision", "fp16"),
        ("model", "resnet"), ("patience", 0), ("max_drops", -1), ("max_drops", 11),
        ("image_size", -1), ("image_size", 1025), ("crop_size", -1), ("crop_size", 1025),
        ("pad", -1), ("pad", 65), ("val_size", 0), ("val_size", -1), ("val_size", 1.5),
        ("val_size", float("nan")), ("val_size", float("inf")), ("seed", -1), ("seed", 2**31),
        ("unknown", 1), ("lrn", "often"), ("flip", "maybe"), ("data", 3), ("drop_epochs", [3, 5]),
    ],
)  # fmt: skip
def test_a_value_out_of_bounds_is_refused_by_name_and_by_the_schema(field, value):
    with pytest.raises(ValidationError) as caught:
        TrainConfig(**{field: value})
    assert [error["loc"] for error in caught.value.errors()] == [(field,)]
    assert str(value) == "nan" or not SCHEMA.is_valid({field: value})  # JSON has no NaN


@pytest.mark.parametrize(("value", "text"), [(20.0, "20"), (0.1, "0.1"), (None, "null")])
def test_the_size_of_the_validation_set_is_a_number_or_a_share(value, text):
    assert f'"val_size":{text},' in TrainConfig(val_size=value).model_dump_json()


def test_a_crop_must_fit_into_the_image_when_its_size_is_known():
    assert TrainConfig(image_size=32, crop_size=32).crop_size == 32
    assert TrainConfig(crop_size=28).image_size == 0
    with pytest.raises(ValidationError, match="crop_size 33"):
        TrainConfig(image_size=32, crop_size=33)


@pytest.mark.parametrize("value", ["1,2,", ",", "1,,2", "a", "0,3", "-1", "5,3", "3,3", "1.5", "²"])
def test_wrong_stages_are_refused(value):
    with pytest.raises(ValidationError) as caught:
        TrainConfig(schedule="stages", drop_epochs=value)
    (problem,) = caught.value.errors()
    assert problem["loc"] == ("drop_epochs",)
    assert "--drop-epochs 120,130" in problem["ctx"]["hint"]


def test_a_stage_beyond_the_run_is_refused():
    assert TrainConfig(schedule="stages", epochs=130, drop_epochs="9,130").stages == (9, 130)
    with pytest.raises(ValidationError, match="125 epochs") as caught:
        TrainConfig(schedule="stages", epochs=125, drop_epochs="120,130")
    assert "--drop-epochs up to 125" in caught.value.errors()[0]["ctx"]["hint"]


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(ValidationError, match="momentum"):
        TrainConfig(momentum_kind="nesterov", momentum=0.0)


def test_a_folder_is_known_by_its_absolute_path_and_a_name_by_itself(isolated):
    for name in ("photos", "shapes"):
        (isolated / name).mkdir()
    assert TrainConfig(data="photos").data == str(isolated / "photos")
    assert TrainConfig(data="../work/photos/") == TrainConfig(data="photos")
    assert TrainConfig(data="shapes").data == "shapes"  # a dataset; the folder is ./shapes
    assert TrainConfig(data="./shapes").data == str(isolated / "shapes")
    assert TrainConfig(data="nowhere").data == "nowhere"


@pytest.mark.parametrize("field", ["data", "from_weights"])
def test_a_path_that_is_not_text_is_refused(field, isolated):
    (isolated / os.fsdecode(b"caf\xe9")).mkdir()
    with pytest.raises(ValidationError, match="UTF-8"):
        TrainConfig(**{field: os.fsdecode(b"caf\xe9")})
