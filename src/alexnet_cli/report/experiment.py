"""An experiment of the paper in the page: the plot, the claims, the runs."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from alexnet_cli.paper.experiments import (
    TRAIN_ERROR,
    Claim,
    ClaimKind,
    Experiment,
    Measure,
    Quantity,
    find_experiment,
)
from alexnet_cli.paper.result import LOG_COLUMNS, FinishedRun, Result
from alexnet_cli.paper.tables import HEADINGS, claim_rows, describe_protocol, run_headings, run_rows
from alexnet_cli.paper.verdict import mean_interval
from alexnet_cli.report.drawing import FAINT, INK, SERIES, Panel, draw, style, to_svg
from alexnet_cli.report.views import Drawing

_DASHES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class ExperimentView:
    """What the page shows of an experiment, in words and numbers.

    Attributes:
        key: Unique in the page.
        headings: Of the table of claims.
        claims: Its rows.
        run_headings: Of the table of runs.
        runs: Its rows.
    """

    key: str
    experiment: Experiment
    command: str
    how: str
    figure: Drawing
    headings: tuple[str, ...]
    claims: list[tuple[str, ...]]
    run_headings: tuple[str, ...]
    runs: list[tuple[str, ...]]

    @property
    def has_tests(self) -> bool:
        """Whether the test set was used."""
        sides = (side for claim in self.experiment.claims for side in claim.quantities)
        return any(side.measure.num_views for side in sides)


def view_experiment(result: Result, number: int) -> ExperimentView:
    """Lay out a result.

    Args:
        result: Of `alexnet reproduce`, with at least one run.
        number: Its place in the page, from 0.
    """
    experiment, key = find_experiment(result.experiment), f"experiment-{number}"
    with style():
        figure, words = draw(experiment_panel(experiment, result), width=6.4, height=3.4)
        drawing = Drawing(to_svg(figure, name=key, words=words), words)
    return ExperimentView(
        key,
        experiment,
        result.command,
        describe_protocol(experiment, result),
        drawing,
        HEADINGS,
        claim_rows(experiment, result),
        run_headings(experiment),
        run_rows(experiment, result),
    )


def experiment_panel(experiment: Experiment, result: Result) -> Panel:
    """Return the plot that the paper has of it, or each seed's error beside what was published."""
    measures = {side.measure for claim in experiment.claims for side in claim.quantities}
    if measures == {Measure.EPOCHS}:
        return lambda axes: _training_errors(axes, experiment, result.runs)
    return lambda axes: _errors(axes, experiment, result)


def _training_errors(axes: Axes, experiment: Experiment, runs: Sequence[FinishedRun]) -> str:
    """Draw figure 1: training error by epoch, a line for each seed."""
    error_column = LOG_COLUMNS.index("train_top1")
    words = []
    for arm, colour, dash in zip(experiment.arms, SERIES, _DASHES, strict=False):
        own = [run for run in runs if run.arm == arm.name]
        for number, run in enumerate(own):
            middles = [row[0] - 0.5 for row in run.log]
            errors = [1 - row[error_column] for row in run.log]
            label = arm.name if number == 0 else None
            axes.plot(middles, errors, color=colour, linestyle=dash, linewidth=1.2, label=label)
        reached = [run.epochs_to_train_error for run in own if run.epochs_to_train_error]
        each = ", ".join(f"{epochs:.1f}" for epochs in reached) or "no number of"
        words.append(f"{arm.name} reaches it after {each} epochs")
    axes.axhline(TRAIN_ERROR, color=FAINT, linewidth=0.8)
    axes.set_title("training error, a line for each seed", loc="left")
    axes.set_xlabel("epoch")
    axes.set_ylim(0, None)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(visible=True)
    if runs:
        axes.legend()
    return f"training error by epoch, 25 % marked: {'; '.join(words)}"


def _errors(axes: Axes, experiment: Experiment, result: Result) -> str:
    """Draw a dot for each seed, the mean's interval, and what was published."""
    sides = list(dict.fromkeys(side for claim in experiment.claims for side in claim.quantities))
    values, words = result.values, []
    for place, side in enumerate(sides):
        errors = [error for error in values.get(side, {}).values() if error is not None]
        axes.plot(errors, [place] * len(errors), "o", color=SERIES[0], alpha=0.7)
        interval = mean_interval(errors)
        if interval:
            axes.plot(interval, (place - 0.25,) * 2, color=SERIES[0], marker="|")
        published = _published(experiment.claims, side)
        if published is not None:
            axes.plot([published], [place], marker="D", color=SERIES[1], linestyle="none")
        words.append(_said(side, errors, published))
    axes.plot([], [], "o", color=SERIES[0], label="a seed")
    axes.plot([], [], color=SERIES[0], marker="|", label="95 % of the mean")
    axes.plot([], [], "D", color=SERIES[1], label="published")
    axes.set_yticks(range(len(sides)), [_name(side) for side in sides], color=INK)
    axes.set_ylim(len(sides) - 0.5, -0.75)
    axes.set_title("test error", loc="left")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    axes.grid(visible=True, axis="x")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return f"test errors: {'; '.join(words)}"


def _published(claims: Sequence[Claim], side: Quantity) -> float | None:
    """Return the error that was published, the middle of what counts as met."""
    for claim in claims:
        low, high = claim.region
        if claim.quantity == side and claim.kind is ClaimKind.LEVEL:
            return (low + high) / 2 if low > 0 else high
    return None


def _name(side: Quantity) -> str:
    views = side.measure.num_views
    return side.arm if views == 1 else f"{side.arm}, {views} views"


def _said(side: Quantity, errors: Sequence[float], published: float | None) -> str:
    shown = ", ".join(f"{error:.1%}" for error in errors) or "not measured yet"
    return f"{_name(side)} {shown}" + (f", published {published:.1%}" if published else "")
