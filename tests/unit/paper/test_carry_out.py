import pytest

from alexnet_cli.errors import TrainingError
from alexnet_cli.paper.experiments import find_experiment
from alexnet_cli.paper.scheduler import choose_rates, could_be_faster
from tests.made_results import finished, result_of

RELU = find_experiment("relu")


def test_the_fastest_rate_is_taken_and_the_smaller_of_equals():
    searched = [
        finished("relu", 0, rate=0.001, epochs=6.0),
        finished("relu", 0, rate=0.003, epochs=4.0),
        finished("relu", 0, rate=0.01, epochs=4.0),
        finished("relu", 0, rate=0.03, epochs=None),
        finished("tanh", 0, rate=0.001, epochs=None),
        finished("tanh", 0, rate=0.01, epochs=20.0),
    ]
    result = result_of("relu", searched=searched)
    assert choose_rates(RELU, result) == {"relu": 0.003, "tanh": 0.01}


@pytest.mark.parametrize("most_epochs", [0, 4])
def test_with_no_rate_that_reaches_it_there_is_no_result(most_epochs):
    searched = [finished("relu", 0, epochs=4.0), finished("tanh", 0, epochs=None)]
    with pytest.raises(TrainingError, match="tanh reached 25 % training error with none") as error:
        choose_rates(RELU, result_of("relu", searched=searched, most_epochs=most_epochs))
    assert (error.value.hint is None) == (most_epochs == 0)


def test_a_rate_is_given_up_when_it_cannot_win_any_more():
    others = [finished("relu", 0, epochs=4.2), finished("tanh", 0, epochs=1.0)]
    assert could_be_faster("relu", 4, others)  # it may still turn out to be reached at 3.9
    assert not could_be_faster("relu", 5, others)  # its next crossing is after 4.5
    assert could_be_faster("relu", 40, [])
