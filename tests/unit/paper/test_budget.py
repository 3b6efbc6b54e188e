from dataclasses import replace

import pytest

from alexnet_cli.errors import UsageError
from alexnet_cli.networks import Network
from alexnet_cli.paper.experiments import Arm, find_experiment
from alexnet_cli.paper.plan import Terms
from alexnet_cli.paper.scheduler import Place, affordable_epochs, epochs_that_fit


@pytest.mark.parametrize(
    ("lengths", "at_once", "minutes", "most_epochs"),
    [
        ([(10, 60)] * 4, 2, 11, 5),  # 20 minutes, and a tenth for the rest
        ([(10, 60)] * 4, 2, 22.1, 10),
        ([(10, 60)] * 4, 2, 1_000, 10),
        ([(10, 60)] * 4, 2, 2, 0),
        ([(10, 60), (1, 1), (1, 1)], 3, 5.6, 5),  # the longest run is what it takes
        ([(10, 60), (100, 60)], 1, 66.1, 50),  # the short one stays whole
        ([(10, 60)], 1, 7.8, 7),
    ],
)
def test_what_fits(lengths, at_once, minutes, most_epochs):
    assert epochs_that_fit(lengths, at_once=at_once, minutes=minutes) == most_epochs


@pytest.mark.slow
def test_a_network_is_timed_here(tmp_path):
    settings = {"model": Network.CUDA_CONVNET_80SEC, "image_size": 12, "crop_size": 8}
    small = replace(find_experiment("cifar90"), arms=(Arm("80sec", settings),), claims=())
    place = Place(tmp_path / "runs", 2, "cpu")
    terms = Terms(2, data="shapes")
    assert affordable_epochs(small, terms, place, minutes=1_000_000) == 0
    assert not place.runs.exists()


@pytest.mark.slow
def test_networks_are_timed_here(tmp_path):
    relu, place = find_experiment("relu"), Place(tmp_path / "runs", 2, "cpu")
    with pytest.raises(UsageError, match=r"does not fit into 0\.01 minutes") as error:
        affordable_epochs(relu, Terms(1, data="shapes"), place, minutes=0.01)
    needed = float(error.value.hint.partition("--budget ")[2].partition(",")[0])
    assert 0 < needed < 60
    assert not place.runs.exists()
