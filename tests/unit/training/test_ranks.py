import signal
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alexnet_cli.data.batches import BatchSettings, ResidentBatches, split_range
from alexnet_cli.errors import UsageError
from alexnet_cli.training.ranks import Ranks, StopRequest, ranks_from_env
from tests.unit.training.conftest import draw


@given(num_items=st.integers(0, 1000), num_parts=st.integers(1, 64))
def test_shares_cover_everything_once_and_are_even(num_items, num_parts):
    shares = [range(num_items)[split_range(num_items, p, num_parts)] for p in range(num_parts)]
    assert [item for share in shares for item in share] == list(range(num_items))
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


@given(num_images=st.integers(1, 40), batch_size=st.integers(1, 17), num_ranks=st.integers(1, 5))
def test_the_subsets_of_the_ranks_make_up_the_batches(num_images, batch_size, num_ranks):
    settings = BatchSettings(
        image_size_px=12,
        batch_size=batch_size,
        pad_px=1,
        flip=True,
        seed=3,
        colour_axes=((1.0, 0.0, 2.0),),
    )
    batches = ResidentBatches(draw(num_images, seed=0), settings, device=torch.device("cpu"))
    whole = list(batches.epoch(2, crop_size_px=8))
    subsets = [
        list(batches.epoch(2, crop_size_px=8, rank=rank, world_size=num_ranks))
        for rank in range(num_ranks)
    ]
    assert {len(each) for each in subsets} == {len(whole)}
    for index, batch in enumerate(whole):
        for field, wanted in enumerate(batch):
            assert torch.equal(torch.cat([each[index][field] for each in subsets]), wanted)


def test_dropout_differs_between_ranks_and_not_from_a_single_process():
    assert Ranks().dropout_seed(7, 5) == (7 << 32) + 5
    seeds = {
        Ranks(rank, 8).dropout_seed(seed, step)
        for rank in range(8)
        for seed in (0, 1, 2**31 - 1)
        for step in range(50)
    }
    assert len(seeds) == 8 * 3 * 50
    for seed in seeds:
        torch.manual_seed(seed)


def test_a_rank_takes_its_own_gpu():
    assert Ranks().device_name("cuda:1") == "cuda:1"
    assert Ranks(5, 8, 1).device_name("cuda") == "cuda:1"
    assert Ranks(5, 8, 1).device_name("cpu") == "cpu"
    with pytest.raises(UsageError, match="cuda:0 is one GPU"):
        Ranks(5, 8, 1).device_name("cuda:0")


def test_the_environment_of_torchrun_names_the_rank(monkeypatch):
    assert ranks_from_env() == Ranks()
    monkeypatch.setenv("WORLD_SIZE", "8")  # some schedulers set this alone
    assert ranks_from_env() == Ranks()
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert ranks_from_env() == Ranks(5, 8, 1)


@pytest.fixture
def same_handlers_after() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    handlers = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("same_handlers_after")
def test_a_rank_ignores_further_signals():
    with StopRequest(once=True) as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # would end the test otherwise
        assert stop.signal_number == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


@pytest.mark.usefixtures("same_handlers_after")
def test_a_rank_that_fails_ignores_signals_until_it_has_reported_why():
    with pytest.raises(RuntimeError), StopRequest(once=True):
        raise RuntimeError
    signal.raise_signal(signal.SIGTERM)  # would end the test otherwise
