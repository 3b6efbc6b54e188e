"""Learning rate, early stopping and crop size as functions of configuration and progress."""

import math
from collections.abc import Sequence

from alexnet_cli.config.schema import Schedule, TrainConfig

_DROP_FACTOR = 0.1
_INVERSE_TIME_STEPS, _INVERSE_TIME_DECAY = 100_000, 0.95
_EARLY_SHARE = 2 / 3  # of the epochs, with `early_crop_size`


def learning_rate(
    config: TrainConfig, *, step: int, steps_per_epoch: int, val_top1: Sequence[float]
) -> float:
    """Return the learning rate of the next update.

    The inverse-time schedule is that of the TensorFlow program this project began with: divided by
    1 + 0.95 · ⌊step / 100,000⌋. The warm-up is linear: its first update already moves the weights,
    its last one has the full learning rate. The linear and the cosine schedule then reach zero
    after the last update.

    Source: Loshchilov & Hutter 2016, "SGDR: Stochastic gradient descent with warm restarts", eq. 5,
    for the cosine; here without restarts.

    Args:
        config: The schedule and the initial learning rate.
        step: Updates already made.
        steps_per_epoch: Updates per epoch.
        val_top1: Validation accuracy of every epoch so far, for the plateau schedule.
    """
    num_steps = config.epochs * steps_per_epoch
    warmup_steps = min(config.warmup_epochs, config.epochs) * steps_per_epoch
    if step < warmup_steps:
        return config.learning_rate * min(1.0, (step + 1) / warmup_steps)
    if config.schedule is Schedule.LINEAR:
        return config.learning_rate * (num_steps - step) / (num_steps - warmup_steps)
    if config.schedule is Schedule.COSINE:
        progress = (step - warmup_steps) / (num_steps - warmup_steps)
        return config.learning_rate * (1 + math.cos(math.pi * progress)) / 2
    if config.schedule is Schedule.INVERSE_TIME:
        return config.learning_rate / (1 + _INVERSE_TIME_DECAY * (step // _INVERSE_TIME_STEPS))
    num_drops = 0  # of a constant learning rate
    if config.schedule is Schedule.STAGES:
        num_drops = sum(step // steps_per_epoch >= epoch for epoch in config.stages)
    elif config.schedule is Schedule.PLATEAU:
        num_drops = count_drops(val_top1, patience=config.patience, max_drops=config.max_drops)
    return config.learning_rate * _DROP_FACTOR**num_drops


def count_drops(val_top1: Sequence[float], *, patience: int, max_drops: int) -> int:
    """Count the drops of the plateau schedule so far.

    Paper §5: "divide the learning rate by 10 when the validation error rate stopped improving
    with the current learning rate", three times, by hand. Here: when `patience` epochs have
    passed since the best validation accuracy or the last drop, at most `max_drops` times.
    """
    drops, waited, best = 0, 0, -1.0
    for top1 in val_top1:
        waited += 1
        if top1 > best:
            best, waited = top1, 0
        if waited >= patience and drops < max_drops:
            drops, waited = drops + 1, 0
    return drops


def stops_early(config: TrainConfig, val_top1: Sequence[float]) -> bool:
    """Return True if training ends before its last epoch, because the accuracy no longer rises.

    `val_top1` is the validation accuracy of every epoch so far. A tie is not better.
    """
    if not config.stop_after or not 0 < len(val_top1) < config.epochs:
        return False
    best = val_top1.index(max(val_top1))  # the first of equals
    return len(val_top1) - 1 - best >= config.stop_after


def crop_size_px(config: TrainConfig, *, final_px: int, epoch: int) -> int:
    """Return the side of an epoch's crops; `epoch` counts from 0, `final_px` is for evaluation."""
    is_early = epoch < _EARLY_SHARE * config.epochs
    return (config.early_crop_size or final_px) if is_early else final_px
