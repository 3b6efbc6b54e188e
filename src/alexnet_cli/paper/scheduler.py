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
from alexnet_cli.files import lock_folder
from alexnet_cli.paper.experiments import Experiment, Measure
from alexnet_cli.paper.plan import PlannedRun, Protocol, plan_search, plan_seeds
from alexnet_cli.paper.result import FinishedRun, Result, open_result, write_result
from alexnet_cli.paper.runner import (
    POLL_SECONDS,
    History,
    RunWorker,
    ShouldStop,
    Workspace,
    epochs_to_train_error,
)
from alexnet_cli.training.ranks import StopRequest


def run_experiment(experiment: Experiment, protocol: Protocol, workspace: Workspace) -> Result:
    """Run what is missing of an experiment, and write the result after each run.

    A result of more seeds keeps them.

    Raises:
        Interrupted: A signal arrived; all runs have saved.
        TrainingError: A run failed, an arm did not reach 25 % training error with any learning
            rate, or another process uses the workspace.
        UsageError: The result file is of another experiment or protocol.
        AlexnetError: The result file is damaged.
    """
    path, notify = workspace.result_file(experiment.name), workspace.notify
    busy = TrainingError(
        f"another process is running experiments in {workspace.output}",
        hint="wait for it, or choose another folder: --output FOLDER",
        code="run_busy",
    )
    with lock_folder(workspace.output, busy=busy):
        result = open_result(path, experiment.name, protocol)
        if result.runs:
            notify(f"{path} has {len(result.runs)} runs already")
        if protocol.max_epochs:
            notify(f"longer training is shortened to {protocol.max_epochs} epochs")
        write_result(path, result)  # an interrupted command continues with this protocol

        def add(run: FinishedRun) -> None:
            nonlocal result
            result = result.with_run(run)
            write_result(path, result)

        def is_decided(run: PlannedRun, history: History) -> bool:
            can_win = can_be_fastest(run.arm, len(history), result.searched)
            return _has_reached(run, history) or not can_win

        if experiment.learning_rates:
            search = result.missing(plan_search(experiment, protocol))
            run_all(search, workspace, should_stop=is_decided, on_finished=add)
            chosen = choose_learning_rates(experiment, result)
            result = result.model_copy(update={"learning_rates": chosen})
            write_result(path, result)
        seeds = result.missing(plan_seeds(experiment, protocol, result.learning_rates))
        run_all(seeds, workspace, should_stop=_has_reached, on_finished=add)
    return result


def run_all(
    runs: Sequence[PlannedRun],
    workspace: Workspace,
    *,
    should_stop: ShouldStop,
    on_finished: Callable[[FinishedRun], None],
) -> None:
    """Train and test runs, several at once, started in their order.

    Those that were interrupted are resumed. `should_stop` is called after each epoch of a run,
    `on_finished` with each finished run, in this thread.

    Raises:
        Interrupted: A signal arrived; all runs have saved.
        TrainingError: A run failed; the others have saved.
    """
    halt, at_once = threading.Event(), max(1, min(workspace.jobs, len(runs)))
    waiting = [RunWorker(run, workspace, should_stop, halt, at_once) for run in runs]
    active: set[Future[FinishedRun]] = set()
    with StopRequest() as stop, ThreadPoolExecutor(at_once) as pool:
        try:
            while waiting or active:
                while waiting and len(active) < at_once:
                    active.add(pool.submit(waiting.pop(0).finish))
                done, _ = wait(active, POLL_SECONDS, FIRST_COMPLETED)
                if stop.signal_number is not None:
                    raise Interrupted(
                        f"interrupted by signal {stop.signal_number}; all runs are saved",
                        signal_number=stop.signal_number,
                        hint="rerun the same command to continue",
                    )
                for future in done:
                    active.remove(future)
                    on_finished(future.result())  # raises the error of a run that failed
        finally:
            halt.set()  # runs that are still active save and stop
            for future in wait(active).done:
                if future.exception() is None:
                    on_finished(future.result())


def _has_reached(run: PlannedRun, history: History) -> bool:
    """Return True if the only measurement of a run, the epochs to the training error, is known."""
    return run.measures == (Measure.EPOCHS,) and epochs_to_train_error(history) is not None


def can_be_fastest(arm: str, num_epochs: int, searched: Sequence[FinishedRun]) -> bool:
    """Return True if a run that has not reached the error yet may be the first of its arm.

    The error of the next epoch counts in its middle, so that the run reaches it after the middle of
    the last one.
    """
    others = [run.epochs_needed for run in searched if run.arm == arm]
    return num_epochs - 0.5 < min(others, default=inf)


def choose_learning_rates(experiment: Experiment, result: Result) -> dict[str, float]:
    """Return the learning rate of each arm that reached the training error first.

    Raises:
        TrainingError: An arm did not reach it with any.
    """
    chosen = {}
    for arm in experiment.arms:
        own = [run for run in result.searched if run.arm == arm]
        best = min(own, key=lambda run: (run.epochs_needed, run.learning_rate))
        if best.epochs_needed == inf:
            rates = ", ".join(f"{run.learning_rate:g}" for run in own)
            longer = f"train longer: alexnet reproduce {experiment.name} --output FOLDER"
            raise TrainingError(
                f"{arm} did not reach 25 % training error with any learning rate of {rates}",
                hint=longer if result.protocol.max_epochs else None,
                code="not_reached",
            )
        chosen[arm] = best.learning_rate
    return chosen
