"""Timing of works in turns."""

import gc
import time
from collections.abc import Callable, Mapping

import torch

Work = Callable[[], object]


def alternate(
    works: Mapping[str, Work], *, repeats: int, device: torch.device, warmups: int = 1
) -> dict[str, list[float]]:
    """Run each work once a round, A B A B, so that changes of the machine's speed affect all alike.

    Args:
        works: The works by name.
        repeats: Rounds that count.
        device: Synchronised before the clock is read.
        warmups: Rounds before those, which do not count.

    Returns:
        Seconds of each round, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for round_number in range(warmups + repeats):
        for name, work in works.items():
            elapsed = seconds_of(work, device)
            if round_number >= warmups:
                seconds[name].append(elapsed)
    return seconds


def seconds_of(work: Work, device: torch.device) -> float:
    """Return the wall-clock time of a work, to its end on the device."""
    gc.collect()  # so that no work pays for the garbage of another
    synchronise(device)
    begin = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - begin


def synchronise(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def times(count: int, work: Work) -> Work:
    """Return a work that repeats another."""

    def repeated() -> None:
        for _ in range(count):
            work()

    return repeated
