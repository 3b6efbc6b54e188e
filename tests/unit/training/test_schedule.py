import pytest

from alexnet_cli.config.schema import Schedule, TrainConfig
from alexnet_cli.training.schedule import count_drops, crop_size_px, learning_rate

STEPS = 1_000  # updates of an epoch


def rate_at(config, progress, *, num_drops=0):
    step = round(progress * config.epochs * STEPS)
    return learning_rate(config, step=step, steps_per_epoch=STEPS, num_drops=num_drops)


@pytest.mark.parametrize(
    ("schedule", "progress", "num_drops", "expected"),
    [
        (Schedule.LINEAR, 0.0, 0, 0.01),
        (Schedule.LINEAR, 0.25, 2, 0.0075),
        (Schedule.LINEAR, 1.0, 0, 0.0),
        (Schedule.PLATEAU, 0.9, 0, 0.01),
        (Schedule.PLATEAU, 0.9, 3, 0.00001),
        (Schedule.CONSTANT, 0.9, 3, 0.01),
    ],
)
def test_learning_rate(schedule, progress, num_drops, expected):
    config = TrainConfig(schedule=schedule, learning_rate=0.01)
    assert rate_at(config, progress, num_drops=num_drops) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([], 0),
        ([0.0], 0),
        ([0.5, 0.4], 0),
        ([0.5, 0.4, 0.4], 1),  # two epochs without a better one
        ([0.5, 0.5, 0.5], 1),  # as good is not better
        ([0.5, 0.4, 0.6, 0.5], 0),  # the wait starts again at the best
        ([0.5, 0.4, 0.4, 0.3, 0.3], 2),
        ([0.5, 0.4, 0.4, 0.3, 0.6, 0.5, 0.5], 2),  # a division starts it again too
        ([0.5] + [0.1] * 20, 3),  # and never more than max_drops
        ([0.1 * i for i in range(20)], 0),
    ],
)
def test_count_drops(history, expected):
    assert count_drops(history, patience=2, max_drops=3) == expected


def test_no_divisions_when_none_are_allowed():
    assert count_drops([0.5] * 9, patience=1, max_drops=0) == 0


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.0003), (999, 0.3), (1_999, 0.6), (2_000, 0.6), (11_000, 0.3), (19_999, 0.6 / 18_000)],
)
def test_the_rate_rises_then_falls_in_straight_lines(step, expected):
    config = TrainConfig(epochs=20, warmup_epochs=2, schedule=Schedule.LINEAR, learning_rate=0.6)
    found = learning_rate(config, step=step, steps_per_epoch=STEPS, num_drops=0)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("epochs", [0.001, 0.3, 0.9999, 1.0])
def test_no_update_of_a_warmup_is_without_effect_or_above_the_rate(epochs):
    config = TrainConfig(epochs=1, warmup_epochs=epochs, schedule=Schedule.CONSTANT)
    rates = [learning_rate(config, step=s, steps_per_epoch=7, num_drops=0) for s in range(7)]
    assert all(0 < rate <= config.learning_rate for rate in rates)
    assert rates == sorted(rates)


def test_a_warmup_longer_than_the_run_never_divides_by_zero():
    config = TrainConfig(epochs=2, warmup_epochs=5, schedule=Schedule.LINEAR, learning_rate=0.6)
    assert rate_at(config, 0.5) == pytest.approx(0.3003)


@pytest.mark.parametrize(("early", "expected"), [(0, [28] * 6), (24, [24] * 4 + [28] * 2)])
def test_early_epochs_have_the_early_crops(early, expected):
    config = TrainConfig(epochs=6, early_crop_size=early)
    assert [crop_size_px(config, final_px=28, epoch=e) for e in range(6)] == expected


def test_stages_divide_after_the_epochs_named():
    config = TrainConfig(epochs=6, schedule=Schedule.STAGES, drop_epochs="3,5", learning_rate=1.0)
    first = [learning_rate(config, step=e * 7, steps_per_epoch=7, num_drops=0) for e in range(6)]
    last = [learning_rate(config, step=e * 7 + 6, steps_per_epoch=7, num_drops=2) for e in range(6)]
    assert first == last == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01])


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 1.0), (99_999, 1.0), (100_000, 1 / 1.95), (250_000, 1 / 2.9)]
)
def test_inverse_time_goes_down_in_steps(step, expected):
    config = TrainConfig(schedule=Schedule.INVERSE_TIME, learning_rate=1.0)
    found = learning_rate(config, step=step, steps_per_epoch=352, num_drops=3)
    assert found == pytest.approx(expected)
