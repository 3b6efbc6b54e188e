"""From a run's epochs to the numbers that the claims are about."""

import csv
from collections.abc import Sequence
from pathlib import Path

from alexnet_cli.reproduce.experiment import TRAIN_ERROR
from alexnet_cli.training.checkpoint import EpochRow

_CHANCE_ERROR = 0.9  # of ten classes, before the first update


def told_history(metrics_csv: Path) -> tuple[EpochRow, ...]:
    """Return the epochs that a running training has told of, none where the file says nothing.

    It may be ahead of the newest checkpoint.
    """
    try:
        with metrics_csv.open(newline="") as file:
            return tuple(
                EpochRow(int(row.pop("epoch")), **{name: float(row[name]) for name in row})
                for row in csv.DictReader(file)
            )
    except (OSError, ValueError, TypeError, KeyError):
        return ()


def epochs_to_train_error(history: Sequence[EpochRow], error: float = TRAIN_ERROR) -> float | None:
    """Return after how many epochs the training error first was this low, None if it never was.

    The error of an epoch is the mean over its updates: it is taken as that of the epoch's middle,
    and between two middles the error is taken to fall in a straight line.

    Args:
        history: Of the run, from its first epoch on.
        error: Share of the training images, 0–1.
    """
    before, error_before = 0.0, _CHANCE_ERROR
    for row in history:
        middle, now = row.epoch - 0.5, 1 - row.train_top1
        if now <= error:
            return before + (middle - before) * (error_before - error) / (error_before - now)
        before, error_before = middle, now
    return None
