"""Clocking pieces of work in turns."""

import gc
import time
from collections.abc import Callable, Mapping

import torch

Work = Callable[[], object]


def alternate(
    works: Mapping[str, Work], *, repeats: int, device: torch.device, warmups: int = 1
) -> dict[str, list[float]]:
    """Run each piece of work once a round, round after round: A B A B, never A A B B.

    What changes on the machine during the run (its clock rate, its other work) then falls on all
    of them alike.

    Args:
        works: What to run, by name.
        repeats: Rounds that count.
        device: Waited for before the clock is read.
        warmups: Rounds before those, whose times are dropped.

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
    """Run a piece of work to its end on the device and return the wall-clock time."""
    gc.collect()  # so that nobody pays for what another left
    synchronise(device)
    begin = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - begin


def synchronise(device: torch.device) -> None:
    """Wait for the device; on the CPU there is nothing to wait for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def times(count: int, work: Work) -> Work:
    """Return work that does `work` `count` times."""

    def repeated() -> None:
        for _ in range(count):
            work()

    return repeated
