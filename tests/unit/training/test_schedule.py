import pytest

from alexnet_cli.config import Schedule, TrainConfig
from alexnet_cli.training.schedule import count_drops, learning_rate


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
    assert learning_rate(config, progress=progress, num_drops=num_drops) == pytest.approx(expected)


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
