"""Several runs at once, each in processes of its own.

On a CPU a process for each core, with one thread each, trains more small networks an hour than one
process on all cores, and than networks stacked in one (`torch.func.vmap`): measured by
`benchmarks/many_seeds.py`.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from alexnet_cli.devices import num_cores
from alexnet_cli.errors import Interrupted
from alexnet_cli.reproduce.one_run import IsEnough, OneRun
from alexnet_cli.reproduce.plan import PlannedRun
from alexnet_cli.reproduce.result import FinishedRun
from alexnet_cli.training.signals import StopRequest

_LOOK_SECONDS = 0.5

Keep = Callable[[FinishedRun], None]


@dataclass(frozen=True)
class Place:
    """Where and with what runs are carried out.

    Attributes:
        runs: Parent of the run folders.
        jobs: At most so many runs at once.
        device: As on the command line.
    """

    runs: Path
    jobs: int
    device: str = "auto"

    def at_once(self, num_runs: int) -> int:
        """Return how many of so many runs share the machine."""
        return max(1, min(self.jobs, num_runs))


class Crew:
    """Carries out runs, several at once; what was begun goes on where it stopped.

    Args:
        place: Where.
        told: Told a line for each run that begins and ends.
    """

    def __init__(self, place: Place, told: Callable[[str], None]) -> None:
        self._place, self._told = place, told

    def carry_out(self, runs: Sequence[PlannedRun], *, is_enough: IsEnough, keep: Keep) -> None:
        """Carry out runs in their order.

        Args:
            runs: The runs.
            is_enough: Asked after each epoch.
            keep: Called with each run that has ended, in this thread.

        Raises:
            Interrupted: A signal came; every run has saved.
            TrainingError: A run failed; the others have saved.
        """
        at_once, halt = self._place.at_once(len(runs)), threading.Event()
        worker = OneRun(
            self._place.runs, self._place.device, halt=halt, told=self._told,
            num_threads=max(1, num_cores() // at_once), runs_at_once=at_once,
        )  # fmt: skip
        waiting = list(runs)
        active: set[Future[FinishedRun]] = set()
        with StopRequest() as stop, ThreadPoolExecutor(at_once) as pool:
            try:
                while waiting or active:
                    while waiting and len(active) < at_once:
                        active.add(pool.submit(worker.carry_out, waiting.pop(0), is_enough))
                    done, active = wait(active, _LOOK_SECONDS, FIRST_COMPLETED)
                    if stop.signal_number is not None:
                        active |= done
                        raise _stopped(stop.signal_number)
                    _keep_all(done, keep)
            finally:
                halt.set()  # for those that are still at it, if this is not the end
                _keep_ended(active, keep)


def _keep_all(ended: set[Future[FinishedRun]], keep: Keep) -> None:
    """Keep runs that have ended, then raise the error of one that failed."""
    _keep_ended(ended, keep)
    for future in ended:
        future.result()


def _keep_ended(futures: set[Future[FinishedRun]], keep: Keep) -> None:
    """Wait for runs, and keep those that did not fail."""
    for future in wait(futures).done:
        if future.exception() is None:
            keep(future.result())


def _stopped(signal_number: int) -> Interrupted:
    return Interrupted(
        f"stopped by signal {signal_number}; the runs have saved",
        signal_number=signal_number,
        hint="go on with the same command",
    )
