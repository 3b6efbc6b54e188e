import pytest
from pydantic import ValidationError

from alexnet_cli.config.schema import Schedule, TrainConfig, flag_metadata, help_text
from alexnet_cli.networks import Network

OTHER = {  # a legal value per field, other than its default
    "data": "shapes",
    "model": Network.ALEXNET,
    "recipe": "fast",
    "epochs": 1,
    "batch_size": 1,
    "micro_batch_size": 1,
    "learning_rate": 100.0,
    "momentum": 0.0,
    "momentum_kind": "nesterov",
    "bias_rate_factor": 2.0,
    "bias_decay": False,
    "activation": "tanh",
    "lrn": False,
    "pool": "plain",
    "groups": 1,
    "kernels": "half",
    "init": "paper",
    "input_scaling": "centred",
    "from_weights": "owt",
    "colour_noise": 0.0,
    "muon_rate": 0.02,
    "weight_decay": 1.0,
    "dropout": 0.0,
    "ema_decay": 0.9,
    "schedule": "constant",
    "warmup_epochs": 1.5,
    "label_smoothing": 0.1,
    "patience": 1,
    "max_drops": 0,
    "image_size": 1024,
    "crop_size": 1024,
    "early_crop_size": 24,
    "pad": 64,
    "flip": False,
    "val_size": 1,
    "seed": 2**31 - 1,
    "precision": "fp32",
    "drop_epochs": "3,5",
    "freeze": "features",
}
NEEDED = {"drop_epochs": {"schedule": "stages"}, "freeze": {"from_weights": "owt"}}  # with these


def test_the_defaults_are_the_papers():
    config = TrainConfig()
    assert (config.batch_size, config.epochs, config.dropout, config.flip) == (128, 90, 0.5, True)
    assert (config.learning_rate, config.momentum, config.weight_decay) == (0.01, 0.9, 5e-4)
    assert (config.schedule, config.max_drops) == (Schedule.PLATEAU, 3)


def test_every_field_has_a_description_and_is_in_the_tables():
    assert set(OTHER) == set(TrainConfig.model_fields)
    assert all(map(help_text, TrainConfig.model_fields))
    assert all(map(flag_metadata, TrainConfig.model_fields))


@pytest.mark.parametrize("field", OTHER)
def test_every_field_takes_another_value_and_changes_the_hash(field):
    config = TrainConfig(**{field: OTHER[field]}, **NEEDED.get(field, {}))
    assert getattr(config, field) == OTHER[field] != getattr(TrainConfig(), field)
    assert config.sha256() != TrainConfig().sha256()
    assert config.sha256() == TrainConfig(**config.model_dump()).sha256()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0), ("epochs", 100_001), ("epochs", 1.5), ("batch_size", 0),
        ("batch_size", 65_537), ("learning_rate", 0), ("learning_rate", 100.1),
        ("learning_rate", float("nan")), ("learning_rate", float("inf")), ("momentum", -0.1),
        ("momentum", 1), ("momentum", float("nan")), ("weight_decay", -1e-9),
        ("weight_decay", 1.1), ("weight_decay", float("nan")), ("dropout", -0.1), ("dropout", 1),
        ("dropout", float("nan")), ("schedule", "cosine"), ("precision", "fp16"),
        ("model", "resnet"), ("patience", 0), ("max_drops", -1), ("max_drops", 11),
        ("image_size", -1), ("image_size", 1025), ("crop_size", -1), ("crop_size", 1025),
        ("pad", -1), ("pad", 65), ("val_size", 0), ("seed", -1), ("seed", 2**31), ("unknown", 1),
    ],
)  # fmt: skip
def test_a_value_out_of_bounds_is_refused_by_name(field, value):
    with pytest.raises(ValidationError) as caught:
        TrainConfig(**{field: value})
    assert [error["loc"] for error in caught.value.errors()] == [(field,)]


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


def test_a_configuration_cannot_be_changed():
    config = TrainConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.epochs = 2


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
