"""Several runs at once, and the course of an experiment: learning rates first, then the seeds.

On a CPU a process for each core, with one thread each, trains more small networks an hour than one
process on all cores, and than networks stacked in one (`torch.func.vmap`): measured by
`benchmarks/many_seeds.py`.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from math import inf

from alexnet_cli.errors import Interrupted, TrainingError
from alexnet_cli.paper.experiments import Experiment, Measure, find_experiment
from alexnet_cli.paper.plan import PlannedRun, plan_search, plan_seeds
from alexnet_cli.paper.result import FinishedRun, Result
from alexnet_cli.paper.runner import (
    History,
    RunWorker,
    ShouldStop,
    Workspace,
    epochs_to_train_error,
)
from alexnet_cli.training.ranks import StopRequest

_POLL_SECONDS = 0.5


class Scheduler:
    """Runs several trainings at once; trainings that were interrupted are resumed.

    Args:
        workspace: The place of the runs.
        notify: Called with a message when a run begins and ends.
    """

    def __init__(self, workspace: Workspace, notify: Callable[[str], None]) -> None:
        self._workspace, self._notify = workspace, notify

    def run(
        self,
        runs: Sequence[PlannedRun],
        *,
        should_stop: ShouldStop,
        on_finished: Callable[[FinishedRun], None],
    ) -> None:
        """Train and test runs, started in their order.

        Args:
            runs: The runs.
            should_stop: Called after each epoch of a run.
            on_finished: Called with each finished run, in this thread.

        Raises:
            Interrupted: A signal arrived; all runs have saved.
            TrainingError: A run failed; the others have saved.
        """
        halt = threading.Event()
        at_once = max(1, min(self._workspace.jobs, len(runs)))
        worker = RunWorker(self._workspace, halt, self._notify, at_once)
        waiting = list(runs)
        active: set[Future[FinishedRun]] = set()
        with StopRequest() as stop, ThreadPoolExecutor(at_once) as pool:
            try:
                while waiting or active:
                    while waiting and len(active) < at_once:
                        active.add(pool.submit(worker.run, waiting.pop(0), should_stop))
                    done, active = wait(active, _POLL_SECONDS, FIRST_COMPLETED)
                    if stop.signal_number is not None:
                        active |= done
                        raise Interrupted(
                            f"interrupted by signal {stop.signal_number}; all runs are saved",
                            signal_number=stop.signal_number,
                            hint="rerun the same command to continue",
                        )
                    _report_finished(done, on_finished)
                    for future in done:
                        future.result()  # raises the error of a run that failed
            finally:
                halt.set()  # runs that are still active save and stop
                _report_finished(active, on_finished)


def _report_finished(
    futures: set[Future[FinishedRun]], on_finished: Callable[[FinishedRun], None]
) -> None:
    """Wait for runs, and report those that did not fail."""
    for future in wait(futures).done:
        if future.exception() is None:
            on_finished(future.result())


def run_experiment(
    result: Result, num_seeds: int, scheduler: Scheduler, save: Callable[[Result], None]
) -> Result:
    """Run what is missing of an experiment.

    Args:
        result: The result so far.
        num_seeds: Seeds to run; a result of more seeds keeps them.
        scheduler: Runs the trainings.
        save: Called with the result after each run.

    Raises:
        TrainingError: An arm did not reach 25 % training error with any learning rate.
    """
    experiment = find_experiment(result.experiment)

    def add(run: FinishedRun) -> None:
        nonlocal result
        result = result.with_run(run)
        save(result)

    def is_decided(run: PlannedRun, history: History) -> bool:
        can_win = can_be_fastest(run.arm, len(history), result.searched)
        return _has_reached(run, history) or not can_win

    if experiment.learning_rates:
        search = plan_search(experiment, result.protocol)
        scheduler.run(result.missing(search), should_stop=is_decided, on_finished=add)
        chosen = choose_learning_rates(experiment, result)
        result = result.model_copy(update={"learning_rates": chosen})
        save(result)
    seeds = plan_seeds(experiment, result.protocol, result.learning_rates)
    missing = result.missing([run for run in seeds if run.config.seed <= num_seeds])
    scheduler.run(missing, should_stop=_has_reached, on_finished=add)
    return result


def _has_reached(run: PlannedRun, history: History) -> bool:
    """Return True if the only measurement of a run, the epochs to the training error, is known."""
    return run.measures == (Measure.EPOCHS,) and epochs_to_train_error(history) is not None


def can_be_fastest(arm: str, num_epochs: int, searched: Sequence[FinishedRun]) -> bool:
    """Return True if a run that has not reached the error yet may be the first of its arm.

    The error of the next epoch counts in its middle, so that the run reaches it after the middle of
    the last one.
    """
    others = [_epochs(run) for run in searched if run.arm == arm]
    return num_epochs - 0.5 < min(others, default=inf)


def _epochs(run: FinishedRun) -> float:
    return inf if run.epochs_to_train_error is None else run.epochs_to_train_error


def choose_learning_rates(experiment: Experiment, result: Result) -> dict[str, float]:
    """Return the learning rate of each arm that reached the training error first."""
    chosen = {}
    for arm in experiment.arms:
        own = [run for run in result.searched if run.arm == arm.name]
        best = min(own, key=lambda run: (_epochs(run), run.learning_rate))
        if best.epochs_to_train_error is None:
            rates = ", ".join(f"{run.learning_rate:g}" for run in own)
            longer = f"train longer: alexnet reproduce {experiment.name} --output FOLDER"
            raise TrainingError(
                f"{arm.name} did not reach 25 % training error with any learning rate of {rates}",
                hint=longer if result.protocol.max_epochs else None,
                code="not_reached",
            )
        chosen[arm.name] = best.learning_rate
    return chosen
