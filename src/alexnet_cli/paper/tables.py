"""A result as tables and text, for the terminal, the report and the documentation."""

from alexnet_cli.paper.experiments import Claim, ClaimKind, Experiment, Measure
from alexnet_cli.paper.plan import SEARCH_SEED, is_shortened
from alexnet_cli.paper.provenance import RunProvenance
from alexnet_cli.paper.result import FinishedRun, Result
from alexnet_cli.paper.verdict import ClaimResult, evaluate_claims

HEADINGS = ("claim", "published", "here", "95 %", "seeds", "verdict")


def claim_rows(experiment: Experiment, result: Result) -> list[tuple[str, ...]]:
    """Return a row of `HEADINGS` for each claim."""
    about = ", on drawn images" if result.protocol.is_trial else ""
    rows: list[tuple[str, ...]] = []
    for each in evaluate_claims(experiment, result.values):
        shortened = is_shortened(experiment, each.claim, result.protocol)
        verdict = f"{each.verdict}{', shortened' if shortened else ''}{about}"
        rows.append((each.claim.text, each.claim.published or "–", *_numbers(each), verdict))
    return rows


def _numbers(each: ClaimResult) -> tuple[str, str, str]:
    """Return mean with spread, interval, and number of seeds."""
    claim, found = each.claim, each.estimate
    unit = " points" if _is_in_points(claim) else ""
    mean, interval, seeds = "–", "–", str(found.num_seeds)
    if found.mean is not None:
        mean = _format(claim, found.mean)
        if found.spread is not None:
            mean += f" ± {_format(claim, found.spread).removeprefix('+')}"
        mean += unit
    if found.interval is not None:
        low, high = found.interval
        interval = f"{_format(claim, low)} to {_format(claim, high)}{unit}"
    if found.num_unreached:
        seeds += f" ({found.num_unreached} not reached)"
    return mean, interval, seeds


def _is_in_points(claim: Claim) -> bool:
    return claim.is_share and claim.kind is ClaimKind.DIFFERENCE


def _format(claim: Claim, number: float) -> str:
    """Format a claim's number: a share in percent, a difference of shares in points."""
    if _is_in_points(claim):
        return f"{100 * number:+.2f}"
    if claim.is_share:
        return f"{number:.2%}"
    return f"{number:.2f}×" if claim.kind is ClaimKind.RATIO else f"{number:.2f}"


def describe_protocol(experiment: Experiment, result: Result) -> str:
    """Return statistics, data, learning rates and hardware of a result on a line."""
    if not result.runs:
        return "No run that counts has finished yet"
    has_ratio = any(claim.kind is ClaimKind.RATIO for claim in experiment.claims)
    mean = "Geometric mean" if has_ratio else "Mean"
    parts = [f"{mean} ± standard deviation over seeds", result.protocol.data]
    if result.protocol.max_epochs:
        parts.append(f"longer training shortened to {result.protocol.max_epochs} epochs")
    parts += [f"lr of {arm}: {rate:g}" for arm, rate in result.learning_rates.items()]
    return "; ".join([*parts, *sorted({run.provenance.device for run in result.runs})])


def run_headings(experiment: Experiment) -> tuple[str, ...]:
    """Return the headings of the table of runs."""
    measures = [str(measure) for measure in _measures(experiment)]
    return ("network", "seed", "lr", "epochs", *measures, "seconds", "hardware", "commit")


def run_rows(experiment: Experiment, result: Result) -> list[tuple[str, ...]]:
    """Return a row for each run that counts, then for each of the search, by arm."""
    return [
        (
            run.arm,
            f"{run.seed}, search" if run.seed == SEARCH_SEED else str(run.seed),
            f"{run.learning_rate:g}",
            str(run.epochs),
            *(_measured(run, measure) for measure in _measures(experiment)),
            f"{run.seconds:,.0f}",
            _hardware(run.provenance),
            _code(run.provenance),
        )
        for runs in (result.runs, result.searched)
        for arm in experiment.arms
        for run in runs
        if run.arm == arm.name
    ]


def _measures(experiment: Experiment) -> list[Measure]:
    used = {measure for arm in experiment.arms for measure in experiment.measures_of(arm)}
    return [measure for measure in Measure if measure in used]


def _measured(run: FinishedRun, measure: Measure) -> str:
    """Return a measurement of a run, a test error with its interval over the images."""
    if measure is Measure.EPOCHS:
        reached = run.epochs_to_train_error
        return "not reached" if reached is None else f"{reached:.2f}"
    for test in run.tests:
        if test.num_views == measure.num_views:
            low, high = test.top1_interval
            return f"{1 - test.top1:.2%} ({1 - high:.2%} to {1 - low:.2%})"
    return "–"


def _hardware(origin: RunProvenance) -> str:
    device = f"{origin.cpu}, {origin.device}" if origin.device.startswith("cpu") else origin.device
    return f"{device}; began on {origin.began_on}" if origin.began_on else device


def _code(origin: RunProvenance) -> str:
    commits = [commit[:12] for commit in (origin.commit, origin.ended_with) if commit]
    return ", tested with ".join(commits) or "–"


def describe_run(run: FinishedRun) -> str:
    """Return the outcome of a run on a line."""
    parts = [f"{run.epochs} epochs in {run.seconds:,.0f} s"]
    if run.tests:
        parts += [f"test error {1 - test.top1:.2%} (views: {test.num_views})" for test in run.tests]
    elif run.epochs_to_train_error is not None:
        parts.append(f"25 % training error after {run.epochs_to_train_error:.2f} epochs")
    else:
        parts.append("25 % training error not reached")
    return ", ".join(parts)
