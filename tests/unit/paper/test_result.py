from pathlib import Path

import pytest

from alexnet_cli.errors import UsageError
from alexnet_cli.paper.experiments import Measure, Side, find_experiment
from alexnet_cli.paper.plan import Terms, plan_seeds
from alexnet_cli.paper.result import go_on_with
from alexnet_cli.paper.tables import judged
from alexnet_cli.paper.verdict import Verdict
from tests.made_results import finished, relu_runs, result_of

RESULT = result_of("relu", relu_runs())
RUNS = RESULT.runs
PATH = Path("results/relu.json")


def test_a_seed_that_never_got_there_leaves_everything_undecided():
    unreached = result_of("relu", [finished("tanh", 3, epochs=None)]).runs[0]
    result = RESULT.with_run(unreached)
    assert len(result.runs) == len(RUNS)
    assert result.values[Side("tanh", Measure.EPOCHS)] == {1: 24.0, 2: 30.0, 3: None}
    for each in judged(find_experiment("relu"), result):
        assert (each.estimate.num_seeds, each.estimate.num_unreached) == (2, 1)
        assert each.estimate.interval is not None
        assert each.verdict is Verdict.UNDECIDED


def test_a_run_takes_the_place_of_an_earlier_one_of_the_same_settings():
    again = RUNS[0].model_copy(update={"epochs": 9})
    assert [run for run in RESULT.with_run(again).runs if run.seed == 1] == [again, RUNS[3]]


def test_a_run_is_found_by_arm_settings_and_measures():
    planned = plan_seeds(find_experiment("ladder"), Terms(1), {})
    run = next(run for run in planned if run.arm == "13pct")
    ten = result_of("ladder", [finished("13pct", 1, error=0.13, views=10, key=run.key)])
    one = result_of("ladder", [finished("13pct", 1, error=0.13, views=1, key=run.key)])
    renamed = result_of("ladder", [finished("13", 1, error=0.13, views=10, key=run.key)])
    assert ten.missing(planned) == [other for other in planned if other is not run]
    assert one.missing(planned) == renamed.missing(planned) == planned


@pytest.mark.parametrize(("asked", "kept"), [(5, 5), (1, 3)])
def test_more_seeds_add_and_fewer_leave(asked, kept):
    result = go_on_with(RESULT, "relu", Terms(asked), PATH)
    assert (result.terms.num_seeds, result.runs) == (kept, RUNS)
    assert result.command == f"alexnet reproduce relu --seeds {kept}"


@pytest.mark.parametrize(
    ("experiment", "terms"),
    [("relu", Terms(3, data="shapes")), ("relu", Terms(3, most_epochs=4)), ("lrn", Terms(3))],
)
def test_other_terms_do_not_overwrite(experiment, terms):
    with pytest.raises(UsageError, match="alexnet reproduce relu --seeds 3") as error:
        go_on_with(RESULT, experiment, terms, PATH)
    assert "--output" in error.value.hint


def test_the_command_has_all_terms():
    terms = Terms(2, data="shapes", most_epochs=4)
    assert terms.command("lrn") == "alexnet reproduce lrn --data shapes --epochs 4 --seeds 2"
