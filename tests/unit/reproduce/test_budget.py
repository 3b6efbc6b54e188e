import pytest

from alexnet_cli.errors import UsageError
from alexnet_cli.reproduce.budget import affordable_share, share_that_fits
from alexnet_cli.reproduce.catalog import find_experiment
from alexnet_cli.reproduce.crew import Place
from alexnet_cli.reproduce.plan import Terms


@pytest.mark.parametrize(
    ("seconds", "at_once", "minutes", "share"),
    [
        ([600] * 4, 2, 11, 0.5),  # 20 minutes, and a tenth for the rest
        ([600] * 4, 2, 1_000, 1.0),
        ([600] * 4, 2, 22, 1.0),
        ([600] * 4, 2, 0.1, 0.0045),
        ([600, 10, 10, 10], 4, 5.5, 0.5),  # the longest run is what it takes
        ([600], 1, 7.3, 0.66),
    ],
)
def test_what_fits(seconds, at_once, minutes, share):
    assert share_that_fits(seconds, at_once=at_once, minutes=minutes) == pytest.approx(share)


@pytest.mark.slow
def test_networks_are_timed_here(tmp_path):
    relu, place = find_experiment("relu"), Place(tmp_path / "runs", 2, "cpu")
    share = affordable_share(relu, Terms(1, data="shapes"), place, minutes=10)
    assert 0 < share <= 1
    with pytest.raises(UsageError, match=r"do not fit into 0\.01 minutes") as error:
        affordable_share(relu, Terms(1, data="shapes"), place, minutes=0.01)
    assert "--budget" in error.value.hint
    assert not place.runs.exists()
