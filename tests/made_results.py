"""Results as they would come from runs, made by hand."""

from alexnet_cli.paper.experiments import find_experiment
from alexnet_cli.paper.plan import Protocol, plan_run
from alexnet_cli.paper.result import FinishedRun, TestResult, new_result

PROVENANCE = {
    "commit": "c0ffee" * 6, "ended_with": "", "date": "2026-01-01", "cpu": "A processor",
    "device": "cpu (1 threads)", "began_on": "", "precision": "float32", "lrn": "compiled C",
    "platform": "here", "images": "45,000 to train on", "versions": {"torch": "2"},
    "runs_at_once": 2,
}  # fmt: skip


def finished(arm, seed, *, epochs=None, error=None, views=1, key="", rate=0.01, log=()):
    """Return a run with a number of epochs to 25 % training error, or with a test error."""
    tests = ()
    if error is not None:
        top1 = 1 - error
        tests = (
            TestResult(
                num_views=views, top1=top1, top1_interval=(top1 - 0.01, top1 + 0.01),
                num_images=10_000,
            ),
        )  # fmt: skip
    return FinishedRun(
        arm=arm,
        seed=seed,
        key=key,
        command="alexnet train",
        learning_rate=rate,
        epochs=3,
        seconds=60.0,
        epochs_to_train_error=epochs,
        tests=tests,
        provenance=PROVENANCE,
        log=log or ((1.0, rate, 2.0, 0.5, 2.0, 0.5, 10.0, 1.0),),
    )


def result_of(name, runs=(), *, num_seeds=3, learning_rates=None, searched=(), **protocol):
    """Return a result of an experiment, each run with the key of its planned run."""
    experiment, empty = find_experiment(name), new_result(name, Protocol(num_seeds, **protocol))
    if learning_rates is None and experiment.learning_rates:
        learning_rates = {run.arm: run.learning_rate for run in runs}

    def keyed(run):
        arm = next(each for each in experiment.arms if each.name == run.arm)
        rate = run.learning_rate if experiment.learning_rates else None
        planned = plan_run(experiment, arm, empty.protocol, seed=run.seed, learning_rate=rate)
        return run.model_copy(update={"key": run.key or planned.key})

    update = {
        "runs": tuple(map(keyed, runs)),
        "learning_rates": learning_rates or {},
        "searched": tuple(map(keyed, searched)),
    }
    return empty.model_copy(update=update)


def relu_runs():
    """Three seeds of figure 1, six times as fast with ReLUs."""
    return tuple(
        finished(arm, seed, epochs=epochs)
        for arm, each in {"relu": (4.0, 5.0, 4.5), "tanh": (24.0, 30.0, 27.5)}.items()
        for seed, epochs in enumerate(each, start=1)
    )
