"""Results of experiments, made by hand."""

from alexnet_cli.paper.experiments import find_experiment
from alexnet_cli.paper.plan import Protocol, plan_run
from alexnet_cli.paper.result import FinishedRun, Result, Score

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
        interval = (0.99 - error, 1.01 - error)
        tests = (Score(num_views=views, top1=1 - error, top1_interval=interval, num_images=10_000),)
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
    experiment, protocol = find_experiment(name), Protocol(num_seeds, **protocol)
    if learning_rates is None:
        learning_rates = {run.arm: run.learning_rate for run in runs if experiment.learning_rates}

    def keyed(run):
        rate = run.learning_rate if experiment.learning_rates else None
        planned = plan_run(experiment, run.arm, protocol, seed=run.seed, learning_rate=rate)
        return run.model_copy(update={"key": run.key or planned.key})

    return Result(
        experiment=name,
        protocol=protocol,
        searched=tuple(map(keyed, searched)),
        learning_rates=learning_rates,
        runs=tuple(map(keyed, runs)),
    )


def relu_runs():
    """Three seeds of figure 1, six times as fast with ReLUs."""
    return tuple(
        finished(arm, seed, epochs=epochs)
        for arm, each in {"relu": (4.0, 5.0, 4.5), "tanh": (24.0, 30.0, 27.5)}.items()
        for seed, epochs in enumerate(each, start=1)
    )
