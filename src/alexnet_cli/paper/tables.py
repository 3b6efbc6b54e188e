"""A result as tables and text, for the terminal, the report and the documentation."""

from typing import TypeAlias

from alexnet_cli.console import counted
from alexnet_cli.paper.experiments import ClaimKind, Experiment, Measure
from alexnet_cli.paper.plan import SEARCH_SEED, is_shortened
from alexnet_cli.paper.result import Estimate, FinishedRun, Result, RunProvenance

Table: TypeAlias = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""Headings and rows."""


def claim_table(experiment: Experiment, result: Result) -> Table:
    trial = ", on drawn images" if result.protocol.is_trial else ""
    rows: list[tuple[str, ...]] = []
    for claim in experiment.claims:
        found = result.estimate(claim)
        shortened = ", shortened" if is_shortened(experiment, claim, result.protocol) else ""
        verdict = f"{found.verdict}{shortened}{trial}"
        rows.append((claim.text, claim.published or "–", *_numbers(claim.kind, found), verdict))
    return ("claim", "published", "here", "95 %", "seeds", "verdict"), rows


def _numbers(kind: ClaimKind, found: Estimate) -> tuple[str, str, str]:
    """Return mean with spread, interval, and number of seeds."""
    unit = " points" if kind is ClaimKind.DIFFERENCE else ""
    mean, interval, seeds = "–", "–", str(found.num_seeds)
    if found.mean is not None:
        mean = _format(kind, found.mean)
        if found.spread is not None:
            mean += f" ± {_format(kind, found.spread).removeprefix('+')}"
        mean += unit
    if found.interval is not None:
        low, high = found.interval
        interval = f"{_format(kind, low)} to {_format(kind, high)}{unit}"
    if found.num_unreached:
        seeds += f" ({found.num_unreached} not reached)"
    return mean, interval, seeds


def _format(kind: ClaimKind, number: float) -> str:
    match kind:
        case ClaimKind.LEVEL:
            return f"{number:.2%}"
        case ClaimKind.DIFFERENCE:
            return f"{100 * number:+.2f}"
        case ClaimKind.RATIO:
            return f"{number:.2f}×"


def describe_protocol(experiment: Experiment, result: Result) -> str:
    """Return statistics, data, learning rates and hardware of a result on a line."""
    if not result.runs:
        return "No run that counts has finished yet"
    has_ratio = any(claim.kind is ClaimKind.RATIO for claim in experiment.claims)
    mean = "Geometric mean" if has_ratio else "Mean"
    parts = [f"{mean} ± standard deviation over seeds", result.protocol.data]
    if result.protocol.max_epochs:
        parts.append(f"longer training shortened to {counted(result.protocol.max_epochs, 'epoch')}")
    parts += [f"lr of {arm}: {rate:g}" for arm, rate in result.learning_rates.items()]
    return "; ".join([*parts, *sorted({run.provenance.device for run in result.runs})])


def run_table(experiment: Experiment, result: Result) -> Table:
    """Return a row for each run that counts, then for each of the search, by arm."""
    used = {quantity.measure for quantity in experiment.quantities}
    measures = [measure for measure in Measure if measure in used]
    rows = [
        (
            run.arm,
            f"{run.seed}, search" if run.seed == SEARCH_SEED else str(run.seed),
            f"{run.learning_rate:g}",
            str(run.epochs),
            *(_measured(run, measure) for measure in measures),
            f"{run.seconds:,.0f}",
            *_origin(run.provenance),
        )
        for runs in (result.runs, result.searched)
        for arm in experiment.arms
        for run in runs
        if run.arm == arm
    ]
    headings = ("network", "seed", "lr", "epochs", *measures, "seconds", "hardware", "commit")
    return headings, rows


def _measured(run: FinishedRun, measure: Measure) -> str:
    """Format a measurement as a cell; a test error has its 95 % confidence interval."""
    if measure is Measure.EPOCHS:
        reached = run.epochs_to_train_error
        return "not reached" if reached is None else f"{reached:.2f}"
    for test in run.tests:
        if test.num_views == measure.num_views:
            low, high = test.top1_interval
            return f"{1 - test.top1:.2%} ({1 - high:.2%} to {1 - low:.2%})"
    return "–"


def _origin(origin: RunProvenance) -> tuple[str, str]:
    """Return hardware and commit, and the second ones of a run that was resumed elsewhere."""
    device = f"{origin.cpu}, {origin.device}" if origin.device.startswith("cpu") else origin.device
    began_on = f"; began on {origin.began_on}" if origin.began_on else ""
    commits = [commit[:12] for commit in (origin.commit, origin.ended_with) if commit]
    return device + began_on, ", tested with ".join(commits) or "–"


def describe_run(run: FinishedRun) -> str:
    """Return the outcome of a run on a line."""
    parts = [f"{counted(run.epochs, 'epoch')} in {run.seconds:,.0f} s"]
    if run.tests:
        parts += [f"test error {1 - test.top1:.2%} (views: {test.num_views})" for test in run.tests]
    elif run.epochs_to_train_error is not None:
        parts.append(f"25 % training error after {run.epochs_to_train_error:.2f} epochs")
    else:
        parts.append("25 % training error not reached")
    return ", ".join(parts)
