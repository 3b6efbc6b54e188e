"""The claims of an experiment, held against what the runs came to.

A result in words and numbers, for the terminal, the page and the documentation.
"""

from dataclasses import dataclass

from alexnet_cli.paper.experiments import Claim, Experiment, Form, Measure
from alexnet_cli.paper.plan import SEARCH_SEED, is_shortened
from alexnet_cli.paper.result import FinishedRun, Provenance, Result
from alexnet_cli.paper.verdict import Estimate, Verdict, estimate, judge


@dataclass(frozen=True)
class Judged:
    """A claim, what the seeds came to, and what that says."""

    claim: Claim
    estimate: Estimate
    verdict: Verdict


def judged(experiment: Experiment, result: Result) -> list[Judged]:
    """Hold a result against the experiment's claims."""
    values = result.values
    found = [(claim, estimate(claim, values)) for claim in experiment.claims]
    return [Judged(claim, number, judge(claim, number)) for claim, number in found]


HEADINGS = ("claim", "published", "here", "95 %", "seeds", "verdict")


def claim_rows(experiment: Experiment, result: Result) -> list[tuple[str, ...]]:
    """Return a row of `HEADINGS` for each claim."""
    return [_row(experiment, each, result) for each in judged(experiment, result)]


def _row(experiment: Experiment, each: Judged, result: Result) -> tuple[str, ...]:
    claim, found = each.claim, each.estimate
    unit = " points" if _is_in_points(claim) else ""
    here, interval = "–", "–"
    if found.mean is not None:
        spread = "" if found.spread is None else f" ± {_shown(claim, found.spread, is_spread=True)}"
        here = f"{_shown(claim, found.mean)}{spread}{unit}"
    if found.interval is not None:
        low, high = found.interval
        interval = f"{_shown(claim, low)} to {_shown(claim, high)}{unit}"
    seeds = str(found.num_seeds)
    if found.num_unreached:
        seeds += f" ({found.num_unreached} not reached)"
    trial = ", on drawn images" if result.terms.is_trial else ""
    shortened = ", shortened" if is_shortened(experiment, claim, result.terms) else ""
    return (
        claim.text, claim.published or "–", here, interval, seeds,
        f"{each.verdict}{shortened}{trial}",
    )  # fmt: skip


def _is_in_points(claim: Claim) -> bool:
    return claim.is_share and claim.form is Form.DIFFERENCE


def _shown(claim: Claim, number: float, *, is_spread: bool = False) -> str:
    """Return a claim's number as people read it: a share in percent, a difference in points."""
    if _is_in_points(claim):
        return f"{100 * number:.2f}" if is_spread else f"{100 * number:+.2f}"
    if claim.is_share:
        return f"{number:.2%}"
    return f"{number:.2f}×" if claim.form is Form.RATIO else f"{number:.2f}"


def how(experiment: Experiment, result: Result) -> str:
    """Say on what and how the runs were carried out."""
    if not result.runs:
        return "No run that counts has ended yet"
    has_ratio = any(claim.form is Form.RATIO for claim in experiment.claims)
    mean = "Geometric mean" if has_ratio else "Mean"
    parts = [f"{mean} ± standard deviation over seeds", result.terms.data]
    if result.terms.most_epochs:
        parts.append(f"longer training shortened to {result.terms.most_epochs} epochs")
    parts += [f"rate of {arm}: {rate:g}" for arm, rate in result.rates.items()]
    return "; ".join([*parts, *sorted({run.provenance.device for run in result.runs})])


def run_headings(experiment: Experiment) -> tuple[str, ...]:
    """Return the headings of the table of runs."""
    measures = [str(measure) for measure in _measures(experiment)]
    return ("network", "seed", "rate", "epochs", *measures, "seconds", "hardware", "commit")


def run_rows(experiment: Experiment, result: Result) -> list[tuple[str, ...]]:
    """Return a row for each run that counts, then for each that was tried to choose a rate.

    Networks are in the order of the experiment.
    """
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


def _hardware(origin: Provenance) -> str:
    device = f"{origin.cpu}, {origin.device}" if origin.device.startswith("cpu") else origin.device
    return f"{device}; began on {origin.began_on}" if origin.began_on else device


def _code(origin: Provenance) -> str:
    commits = [commit[:12] for commit in (origin.commit, origin.ended_with) if commit]
    return ", measured with ".join(commits) or "–"


def outcome(run: FinishedRun) -> str:
    """Say in a line what a run came to."""
    parts = [f"{run.epochs} epochs in {run.seconds:,.0f} s"]
    if run.tests:
        parts += [f"test error {1 - test.top1:.2%} (views: {test.num_views})" for test in run.tests]
    elif run.epochs_to_train_error is not None:
        parts.append(f"25 % training error after {run.epochs_to_train_error:.2f} epochs")
    else:
        parts.append("25 % training error not reached")
    return ", ".join(parts)


def _measures(experiment: Experiment) -> list[Measure]:
    used = {measure for arm in experiment.arms for measure in experiment.measures_of(arm)}
    return [measure for measure in Measure if measure in used]


def _measured(run: FinishedRun, measure: Measure) -> str:
    """Return what was measured of a run, a test error with its interval over the images."""
    if measure is Measure.EPOCHS:
        reached = run.epochs_to_train_error
        return "not reached" if reached is None else f"{reached:.2f}"
    for test in run.tests:
        if test.num_views == measure.num_views:
            low, high = test.top1_interval
            return f"{1 - test.top1:.2%} ({1 - high:.2%} to {1 - low:.2%})"
    return "–"
