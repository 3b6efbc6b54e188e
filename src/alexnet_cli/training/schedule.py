"""The learning rate as a pure function of the configuration and what validation has shown."""

from collections.abc import Sequence

from alexnet_cli.config.schema import Schedule, TrainConfig

DROP_FACTOR = 0.1
_INVERSE_TIME_STEPS, _INVERSE_TIME_RATE = 100_000, 0.95


def learning_rate(config: TrainConfig, *, step: int, steps_per_epoch: int, num_drops: int) -> float:
    """Return the rate of the next update.

    The inverse-time schedule is that of the TensorFlow program this project began with: the rate
    divided by 1 + 0.95 · ⌊step / 100,000⌋. In a warm-up, the rate is the share of its updates that
    this one completes: the first one moves, the last one has the whole rate.

    Args:
        config: Schedule and initial rate.
        step: Updates already made.
        steps_per_epoch: Updates of an epoch.
        num_drops: Divisions by ten that the plateau schedule has decided on.
    """
    num_steps = config.epochs * steps_per_epoch
    warmup_steps = min(config.warmup_epochs, config.epochs) * steps_per_epoch
    if step < warmup_steps:
        return config.learning_rate * min(1.0, (step + 1) / warmup_steps)
    if config.schedule is Schedule.LINEAR:
        return config.learning_rate * (num_steps - step) / (num_steps - warmup_steps)
    if config.schedule is Schedule.INVERSE_TIME:
        return config.learning_rate / (1 + _INVERSE_TIME_RATE * (step // _INVERSE_TIME_STEPS))
    if config.schedule is Schedule.STAGES:
        num_drops = sum(step // steps_per_epoch >= epoch for epoch in config.stages)
    elif config.schedule is Schedule.CONSTANT:
        num_drops = 0
    return config.learning_rate * DROP_FACTOR**num_drops


EARLY_SHARE = 2 / 3


def crop_size_px(config: TrainConfig, *, final_px: int, epoch: int) -> int:
    """Return the side of an epoch's crops.

    Args:
        config: Its `early_crop_size`, 0 for none, and number of epochs.
        final_px: Side of the crops that the network is evaluated on.
        epoch: Counted from 0.
    """
    is_early = epoch < EARLY_SHARE * config.epochs
    return config.early_crop_size or final_px if is_early else final_px


def count_drops(val_top1_by_epoch: Sequence[float], *, patience: int, max_drops: int) -> int:
    """Count the divisions by ten so far.

    Paper §5: "divide the learning rate by 10 when the validation error rate stopped improving
    with the current learning rate", three times, by hand. Here: when `patience` epochs have
    passed since the best validation accuracy or the last division.

    Args:
        val_top1_by_epoch: Validation accuracy of every epoch so far.
        patience: Epochs to wait for a better one.
        max_drops: Stop dividing after this many.
    """
    drops, waited, best = 0, 0, -1.0
    for top1 in val_top1_by_epoch:
        waited += 1
        if top1 > best:
            best, waited = top1, 0
        if waited >= patience and drops < max_drops:
            drops, waited = drops + 1, 0
    return drops
