"""The claims of an experiment, held against what the runs came to."""

from dataclasses import dataclass

from alexnet_cli.reproduce.experiment import Claim, Experiment
from alexnet_cli.reproduce.result import Result
from alexnet_cli.reproduce.verdict import Estimate, Verdict, estimate, judge


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
