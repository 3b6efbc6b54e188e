import pytest

from alexnet_cli.config.schema import Schedule, TrainConfig
from alexnet_cli.errors import UsageError
from alexnet_cli.training.resume import merge_resume_settings, require_same_environment

OWN = TrainConfig(data="shapes", epochs=5)


def merge(requested, *, own=OWN, allow_drift=False):
    return merge_resume_settings(own, requested, allow_drift=allow_drift)


def test_the_same_settings_are_no_change():
    assert merge({}) == OWN
    assert merge({"epochs": 5, "data": "shapes"}) == OWN


@pytest.mark.parametrize(
    "own",
    [OWN, OWN.model_copy(update={"schedule": Schedule.STAGES, "drop_epochs": "2"})],
    ids=["plateau", "stages"],
)
def test_epochs_may_grow(own):
    assert merge({"epochs": 9}, own=own) == own.model_copy(update={"epochs": 9})


@pytest.mark.parametrize(
    ("own", "epochs"),
    [
        ({}, 4),
        ({"schedule": Schedule.LINEAR}, 9),
        ({"schedule": Schedule.COSINE}, 9),
        ({"warmup_epochs": 1.0}, 9),
        ({"early_crop_size": 20}, 9),
    ],
    ids=str,
)
def test_epochs_that_change_what_was_done_are_drift(own, epochs):
    own = OWN.model_copy(update=own)
    with pytest.raises(UsageError, match=f"epochs is 5, not {epochs}") as caught:
        merge({"epochs": epochs}, own=own)
    assert "--allow-drift" in caught.value.hint
    assert merge({"epochs": epochs}, own=own, allow_drift=True).epochs == epochs


@pytest.mark.parametrize(
    ("before", "requested"),
    [(3, {"stop_after": 5}), (3, {"stop_after": 0}), (3, {"stop_after": 0, "epochs": 9})],
)
def test_a_run_may_stop_later(before, requested):
    own = OWN.model_copy(update={"stop_after": before, "schedule": Schedule.STAGES})
    own = own.model_copy(update={"drop_epochs": "2"})
    assert merge(requested, own=own) == own.model_copy(update=requested)


@pytest.mark.parametrize(
    ("before", "requested"),
    [
        (3, {"stop_after": 2}),
        (0, {"stop_after": 3}),
        (3, {"stop_after": 5, "epochs": 4}),
        (3, {"stop_after": 5, "momentum": 0.5}),
    ],
)
def test_a_run_that_would_have_stopped_sooner_is_drift(before, requested):
    own = OWN.model_copy(update={"stop_after": before})
    with pytest.raises(UsageError, match="started with other settings"):
        merge(requested, own=own)
    assert merge(requested, own=own, allow_drift=True) == own.model_copy(update=requested)


def test_all_differences_are_listed():
    with pytest.raises(UsageError) as caught:
        merge({"learning_rate": 0.5, "epochs": 9, "momentum": 0.9, "schedule": Schedule.CONSTANT})
    assert caught.value.code == "config_differs"
    assert "learning_rate is 0.01, not 0.5" in caught.value.message
    assert "epochs is 5, not 9" in caught.value.message
    assert "schedule is plateau, not constant" in caught.value.message
    assert "momentum" not in caught.value.message
    assert "--epochs, --learning-rate, --schedule" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "value"),
    [("batch_size", 64), ("seed", 7), ("data", "cifar10"), ("dropout", 0.1), ("val_size", 9)],
)
def test_network_data_and_seed_never_change(name, value):
    with pytest.raises(UsageError, match="cannot be resumed") as caught:
        merge({name: value}, allow_drift=True)
    assert f"leave --{name.replace('_', '-')} out" in caught.value.hint


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(UsageError, match="need each other"):
        merge({"schedule": Schedule.STAGES}, allow_drift=True)


def test_another_environment_is_refused_or_a_warning():
    before, now = {"device": "cpu (1 threads)", "ranks": "2"}, {"device": "cpu (2 threads)"}
    warnings = []
    with pytest.raises(UsageError) as caught:
        require_same_environment(before, now, allow_drift=False, warn=warnings.append)
    assert caught.value.code == "environment_differs"
    assert "device was cpu (1 threads), is cpu (2 threads)" in caught.value.message
    assert "ranks was 2, is none" in caught.value.message
    assert warnings == []
    require_same_environment(before, now, allow_drift=True, warn=warnings.append)
    assert len(warnings) == 1
    assert "not be bit-identical" in warnings[0]
    require_same_environment(now, dict(now), allow_drift=False, warn=warnings.append)
    assert len(warnings) == 1
