"""Carrying out an experiment: the search for rates, then the seeds, kept run by run."""

from collections.abc import Callable, Mapping, Sequence

from alexnet_cli.errors import TrainingError
from alexnet_cli.reproduce.catalog import find_experiment
from alexnet_cli.reproduce.crew import Crew
from alexnet_cli.reproduce.experiment import INFINITE, Experiment, Measure
from alexnet_cli.reproduce.measurement import epochs_to_train_error
from alexnet_cli.reproduce.plan import PlannedRun, plan_search, plan_seeds
from alexnet_cli.reproduce.result import FinishedRun, Result
from alexnet_cli.training.checkpoint import EpochRow


def carry_out(result: Result, num_seeds: int, crew: Crew, keep: Callable[[Result], None]) -> Result:
    """Do what is missing of an experiment.

    Args:
        result: What it has come to so far.
        num_seeds: Seeds to carry out; of more that are there, none goes on.
        crew: Who does it.
        keep: Called with the result after each run.

    Raises:
        TrainingError: With none of the rates an arm reached what is looked for.
    """
    experiment = find_experiment(result.experiment)
    state = _State(result, keep)
    if experiment.rates:
        search = plan_search(experiment, result.terms)
        crew.carry_out(state.result.missing(search), is_enough=state.is_settled, keep=state.add)
        state.set_rates(choose_rates(experiment, state.result))
    all_seeds = plan_seeds(experiment, result.terms, state.result.rates)
    seeds = [run for run in all_seeds if run.seed <= num_seeds]
    crew.carry_out(state.result.missing(seeds), is_enough=_is_reached, keep=state.add)
    return state.result


class _State:
    """The result as it grows."""

    def __init__(self, result: Result, keep: Callable[[Result], None]) -> None:
        self.result, self._keep = result, keep

    def add(self, run: FinishedRun) -> None:
        self.result = self.result.with_run(run)
        self._keep(self.result)

    def set_rates(self, rates: Mapping[str, float]) -> None:
        self.result = self.result.model_copy(update={"rates": rates})
        self._keep(self.result)

    def is_settled(self, run: PlannedRun, history: Sequence[EpochRow]) -> bool:
        """Whether a rate has reached the training error, or cannot be the fastest any more."""
        is_hopeless = not could_be_faster(run.arm, len(history), self.result.searched)
        return _is_reached(run, history) or is_hopeless


def could_be_faster(arm: str, num_epochs: int, searched: Sequence[FinishedRun]) -> bool:
    """Whether a run that has not reached the training error yet may be before others of its arm.

    What the next epoch's error is, is taken as that of its middle: it is reached after the middle
    of the last one.
    """
    others = [_epochs(run) for run in searched if run.arm == arm]
    return num_epochs - 0.5 < min(others, default=INFINITE)


def _is_reached(run: PlannedRun, history: Sequence[EpochRow]) -> bool:
    """Whether all that is to be measured of a run is how soon it reached the training error."""
    return run.measures == (Measure.EPOCHS,) and epochs_to_train_error(history) is not None


def _epochs(run: FinishedRun) -> float:
    reached = run.epochs_to_train_error
    return INFINITE if reached is None else reached


def choose_rates(experiment: Experiment, result: Result) -> dict[str, float]:
    """Return the rate of each arm that was the first to reach the training error."""
    rates = {}
    for arm in experiment.arms:
        own = [run for run in result.searched if run.arm == arm.name]
        best = min(own, key=lambda run: (_epochs(run), run.learning_rate))
        if best.epochs_to_train_error is None:
            raise TrainingError(
                f"{arm.name} reached 25 % training error with none of the rates "
                + ", ".join(f"{run.learning_rate:g}" for run in own),
                hint=f"train longer: alexnet reproduce {experiment.name} --output FOLDER"
                if result.terms.most_epochs
                else None,
                code="not_reached",
            )
        rates[arm.name] = best.learning_rate
    return rates
