"""An experiment of the paper in the page: the plot, the claims and the runs."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from alexnet_cli.paper.experiments import (
    TRAIN_ERROR,
    Claim,
    ClaimKind,
    Experiment,
    Measure,
    Quantity,
    find_experiment,
)
from alexnet_cli.paper.result import LOG_COLUMNS, FinishedRun, Result, mean_interval
from alexnet_cli.paper.tables import claim_table, describe_protocol, run_table
from alexnet_cli.report.drawing import (
    DASHES,
    FAINT,
    INK,
    SERIES,
    Panel,
    draw,
    label_epochs,
    style,
    to_svg,
)


def view_experiment(result: Result, number: int) -> dict[str, Any]:
    """Return the content of a result's section; `number` counts the sections of the page from 0."""
    experiment, key = find_experiment(result.experiment), f"experiment-{number}"
    with style():
        panel = experiment_panel(experiment, result)
        figure = to_svg(*draw(panel, width=6.4, height=3.4), name=key)
    claim_headings, claims = claim_table(experiment, result)
    run_headings, runs = run_table(experiment, result)
    return {
        "key": key,
        "experiment": experiment,
        "has_tests": any(quantity.measure.num_views for quantity in experiment.quantities),
        "protocol": describe_protocol(experiment, result),
        "figure": figure,
        "claim_headings": claim_headings,
        "claims": claims,
        "run_headings": run_headings,
        "runs": runs,
        "command": result.command,
    }


def experiment_panel(experiment: Experiment, result: Result) -> Panel:
    """Return the plot of the paper, or each seed's test error with the published one."""
    if {quantity.measure for quantity in experiment.quantities} == {Measure.EPOCHS}:
        return lambda axes: _training_errors(axes, experiment, result.runs)
    return lambda axes: _test_errors(axes, experiment, result)


def _training_errors(axes: Axes, experiment: Experiment, runs: Sequence[FinishedRun]) -> str:
    """Draw figure 1: training error by epoch, a line for each seed."""
    accuracy_column = LOG_COLUMNS.index("train_top1")
    texts = []
    for arm, colour, dash in zip(experiment.arms, SERIES, DASHES, strict=False):
        own = [run for run in runs if run.arm == arm]
        for number, run in enumerate(own):
            middles = [row[0] - 0.5 for row in run.log]
            errors = [1 - row[accuracy_column] for row in run.log]
            label = arm if number == 0 else None
            axes.plot(middles, errors, color=colour, linestyle=dash, linewidth=1.2, label=label)
        reached = [run.epochs_to_train_error for run in own if run.epochs_to_train_error]
        epochs = ", ".join(f"{each:.1f}" for each in reached)
        outcome = f"reaches it after {epochs} epochs" if epochs else "has not reached it"
        texts.append(f"{arm} {outcome}")
    axes.axhline(TRAIN_ERROR, color=FAINT, linewidth=0.8)
    axes.set_ylim(0, None)
    label_epochs(axes, "training error, a line for each seed", percent=True)
    if runs:
        axes.legend()
    return f"training error by epoch, 25 % marked: {'; '.join(texts)}"


def _test_errors(axes: Axes, experiment: Experiment, result: Result) -> str:
    """Draw a dot for each seed, the interval of their mean, and the published error."""
    quantities, texts = experiment.quantities, []
    for place, quantity in enumerate(quantities):
        errors = list(result.values(quantity).values())
        axes.plot(errors, [place] * len(errors), "o", color=SERIES[0], alpha=0.7)
        interval = mean_interval(errors)
        if interval:
            axes.plot(interval, (place - 0.25,) * 2, color=SERIES[0], marker="|")
        text = ", ".join(f"{error:.1%}" for error in errors) or "not measured yet"
        published = _published(experiment.claims, quantity)
        if published is not None:
            axes.plot([published], [place], marker="D", color=SERIES[1], linestyle="none")
            text += f", published {published:.1%}"
        texts.append(f"{_name(quantity)} {text}")
    axes.plot([], [], "o", color=SERIES[0], label="a seed")
    axes.plot([], [], color=SERIES[0], marker="|", label="95 % of the mean")
    axes.plot([], [], "D", color=SERIES[1], label="published")
    axes.set_yticks(range(len(quantities)), [_name(each) for each in quantities], color=INK)
    axes.set_ylim(len(quantities) - 0.5, -0.75)
    axes.set_title("test error")
    axes.xaxis.set_major_formatter("{x:.1%}")
    axes.grid(visible=True, axis="x")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return f"test errors: {'; '.join(texts)}"


def _published(claims: Sequence[Claim], quantity: Quantity) -> float | None:
    """Return the published error, the middle of a claim's region."""
    for claim in claims:
        low, high = claim.region
        if claim.quantity == quantity and claim.kind is ClaimKind.LEVEL:
            return (low + high) / 2 if low > 0 else high
    return None


def _name(quantity: Quantity) -> str:
    views = quantity.measure.num_views
    return quantity.arm if views == 1 else f"{quantity.arm}, {views} views"
