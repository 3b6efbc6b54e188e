import pytest
import torch

from alexnet_cli.config.schema import Schedule, TrainConfig
from alexnet_cli.training.schedule import (
    count_drops,
    crop_size_px,
    learning_rate,
    stops_early,
)

STEPS = 1_000  # updates of an epoch


def rate_at(step, *, steps_per_epoch=STEPS, val_top1=(), **settings):
    config = TrainConfig(**settings)
    return learning_rate(config, step=step, steps_per_epoch=steps_per_epoch, val_top1=val_top1)


@pytest.mark.parametrize(
    ("schedule", "epoch", "expected"),
    [
        (Schedule.LINEAR, 0, 0.01),
        (Schedule.LINEAR, 22.5, 0.0075),
        (Schedule.LINEAR, 90, 0.0),
        (Schedule.PLATEAU, 0, 0.00001),  # three drops
        (Schedule.CONSTANT, 81, 0.01),
    ],
)
def test_learning_rate(schedule, epoch, expected):
    val_top1 = [0.5] * 90  # nothing is better than the first epoch
    found = rate_at(round(epoch * STEPS), schedule=schedule, val_top1=val_top1)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("val_top1", "expected"),
    [
        ([], 0),
        ([0.0], 0),
        ([0.5, 0.4], 0),
        ([0.5, 0.4, 0.4], 1),  # two epochs without a better one
        ([0.5, 0.5, 0.5], 1),  # as good is not better
        ([0.5, 0.4, 0.6, 0.5], 0),  # the wait starts again at the best
        ([0.5, 0.4, 0.4, 0.3, 0.3], 2),
        ([0.5, 0.4, 0.4, 0.3, 0.6, 0.5, 0.5], 2),  # a drop starts it again too
        ([0.5] + [0.1] * 20, 3),  # and never more than max_drops
        ([0.1 * i for i in range(20)], 0),
    ],
)
def test_drops_on_a_plateau(val_top1, expected):
    assert count_drops(val_top1, patience=2, max_drops=3) == expected
    assert count_drops(val_top1, patience=1, max_drops=0) == 0


@pytest.mark.parametrize(
    ("val_top1", "expected"),
    [
        ([], False),
        ([0.5], False),
        ([0.5, 0.4], False),
        ([0.5, 0.4, 0.4], True),
        ([0.5, 0.5, 0.5], True),  # as good is not better
        ([0.5, 0.4, 0.6, 0.5], False),
        ([0.5, 0.4, 0.6, 0.5, 0.6], True),
        ([0.5] * 6, False),  # the end
    ],
)
def test_training_stops_early_when_nothing_is_better(val_top1, expected):
    assert stops_early(TrainConfig(epochs=6, stop_after=2), val_top1) == expected
    assert not stops_early(TrainConfig(epochs=6), val_top1)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.0003), (999, 0.3), (1_999, 0.6), (2_000, 0.6), (11_000, 0.3), (19_999, 0.6 / 18_000)],
)
def test_after_the_warm_up_the_learning_rate_falls_linearly(step, expected):
    settings = {"epochs": 20, "warmup_epochs": 2, "schedule": "linear", "learning_rate": 0.6}
    assert rate_at(step, **settings) == pytest.approx(expected)


@pytest.mark.parametrize("warmup_epochs", [0, 2])
def test_the_cosine_is_that_of_pytorch(warmup_epochs):
    settings = {"epochs": 6, "warmup_epochs": warmup_epochs, "learning_rate": 0.6}
    num_steps = 7 * (6 - warmup_epochs)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.6)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    for step in range(7 * warmup_epochs, 7 * 6):
        found = rate_at(step, steps_per_epoch=7, schedule="cosine", **settings)
        assert found == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0)


@pytest.mark.parametrize("epochs", [0.001, 0.3, 0.9999, 1.0])
def test_the_warm_up_rises_from_above_zero_to_the_full_learning_rate(epochs):
    settings = {"epochs": 1, "warmup_epochs": epochs, "schedule": "constant"}
    rates = [rate_at(step, steps_per_epoch=7, **settings) for step in range(7)]
    assert all(0 < rate <= 0.01 for rate in rates)
    assert rates == sorted(rates)


def test_a_warm_up_longer_than_the_run_never_divides_by_zero():
    settings = {"epochs": 2, "warmup_epochs": 5, "schedule": "linear", "learning_rate": 0.6}
    assert rate_at(STEPS, **settings) == pytest.approx(0.3003)


@pytest.mark.parametrize(("early", "expected"), [(0, [28] * 6), (24, [24] * 4 + [28] * 2)])
def test_early_epochs_have_the_early_crops(early, expected):
    config = TrainConfig(epochs=6, early_crop_size=early)
    assert [crop_size_px(config, final_px=28, epoch=e) for e in range(6)] == expected


@pytest.mark.parametrize("step_of_epoch", [0, 6])
def test_stages_divide_after_the_epochs_named(step_of_epoch):
    settings = {"epochs": 6, "schedule": "stages", "drop_epochs": "3,5", "learning_rate": 1.0}
    rates = [rate_at(7 * e + step_of_epoch, steps_per_epoch=7, **settings) for e in range(6)]
    assert rates == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01])


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 1.0), (99_999, 1.0), (100_000, 1 / 1.95), (250_000, 1 / 2.9)]
)
def test_inverse_time_falls_in_steps(step, expected):
    found = rate_at(step, schedule="inverse-time", learning_rate=1.0)
    assert found == pytest.approx(expected)
