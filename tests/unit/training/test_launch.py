import signal

import pytest
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from alexnet_cli.devices import num_cores
from alexnet_cli.errors import TrainingError, UsageError
from alexnet_cli.training.launch import _exit_code, launch_processes


def launch(num_processes):
    return launch_processes(["models"], num_processes=num_processes, device="cpu", max_restarts=0)


def failures(*exit_codes):
    """Return the failures of ranks that ended one after the other."""
    return {
        rank: ProcessFailure(rank, 1_000 + rank, code, "no file")
        for rank, code in enumerate(exit_codes)
    }


def test_more_processes_than_cores_are_refused():
    with pytest.raises(UsageError) as caught:
        launch(num_cores() + 1)
    assert f"--processes {num_cores()} or fewer" in caught.value.hint


def test_a_rank_trains_itself(monkeypatch):
    for name, value in (("RANK", "1"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    assert launch(2) is None
    with pytest.raises(UsageError, match="torchrun started 2"):
        launch(3)


@pytest.mark.parametrize(
    ("exit_codes", "expected"), [((1,), 1), ((2, 1), 2), ((1, -signal.SIGTERM), 1)]
)
def test_the_exit_code_is_that_of_the_first_failure(exit_codes, expected):
    assert _exit_code(failures(*exit_codes)) == expected


def test_a_killed_rank_is_named():
    with pytest.raises(TrainingError, match="rank 1 of the run was killed by SIGKILL") as caught:
        _exit_code(failures(-signal.SIGTERM, -signal.SIGKILL))
    assert caught.value.code == "rank_died"
