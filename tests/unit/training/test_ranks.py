import dataclasses
import signal
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alexnet_cli.config.schema import Precision, TrainConfig
from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.data.augment import BatchSettings
from alexnet_cli.data.loader import Batch, ResidentBatches, share_of
from alexnet_cli.errors import UsageError
from alexnet_cli.networks import Network, NetworkSpec
from alexnet_cli.runs import RunFolder
from alexnet_cli.training.loop import Trainer, split_batch
from alexnet_cli.training.ranks import Ranks, StopRequest, ranks_from_env
from alexnet_cli.training.setup import TrainingRun, require_undivided_batches


def draw(num_images, *, seed=0):
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (num_images, 12, 12, 3)).astype(np.uint8)
    return ImageArrays(images, generator.integers(0, 4, num_images))


@given(num_items=st.integers(0, 1000), num_parts=st.integers(1, 64))
def test_shares_cover_everything_once_and_are_even(num_items, num_parts):
    shares = [range(num_items)[share_of(num_items, p, num_parts)] for p in range(num_parts)]
    assert [item for share in shares for item in share] == list(range(num_items))
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


@given(num_images=st.integers(1, 40), batch_size=st.integers(1, 17), num_parts=st.integers(1, 5))
def test_the_ranks_batches_put_together_are_the_whole_batches(num_images, batch_size, num_parts):
    settings = BatchSettings(
        image_size_px=12,
        batch_size=batch_size,
        pad_px=1,
        flip=True,
        seed=3,
        colour_axes=((1.0, 0.0, 2.0),),
    )
    batches = ResidentBatches(draw(num_images), settings, device=torch.device("cpu"))
    whole = list(batches.epoch(2, crop_size_px=8))
    parts = [
        list(batches.epoch(2, crop_size_px=8, rank=part, world_size=num_parts))
        for part in range(num_parts)
    ]
    assert {len(each) for each in parts} == {len(whole)}
    for index, batch in enumerate(whole):
        for field, wanted in enumerate(batch):
            assert torch.equal(torch.cat([each[index][field] for each in parts]), wanted)


@given(num_images=st.integers(0, 300), at_most=st.integers(0, 50))
def test_micro_batches_cover_a_share_and_are_small_enough(num_images, at_most):
    labels = torch.arange(num_images)
    micro_batches = split_batch(Batch(labels, labels, None), at_most)
    assert torch.equal(torch.cat([each.labels_B for each in micro_batches]), labels)
    assert micro_batches, "a rank without images still takes part"
    if at_most:
        assert max(len(each.labels_B) for each in micro_batches) <= at_most


def test_accumulated_gradients_are_the_whole_batches(tmp_path, manifest):
    weights = {}
    for size in (0, 3, 16):
        run = RunFolder(tmp_path / str(size))
        run.path.mkdir()
        config = TrainConfig(
            data="shapes", epochs=2, batch_size=16, micro_batch_size=size, label_smoothing=0.1,
            dropout=0.0, val_size=20, precision=Precision.FP32,
        )  # fmt: skip
        without_dropout = dataclasses.replace(
            manifest, network=dataclasses.replace(manifest.network, dropout=0.0)
        )
        job = TrainingRun(
            config, without_dropout, draw(44), draw(20, seed=1), run,
            torch.device("cpu"), torch.float32, draw(44).colour_statistics().noise_axes(0.1),
        )  # fmt: skip
        trainer = Trainer(job)
        trainer.model.double()
        history = trainer.train()
        weights[size] = torch.cat([p.detach().flatten() for p in trainer.network.parameters()])
        assert history[-1].train_loss > 0
    assert torch.equal(weights[0], weights[16])
    assert (weights[0] - weights[3]).abs().max() <= 1e-12
    assert not torch.equal(weights[0], weights[3]), "the small batches were not used"


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


def test_torchruns_environment_names_the_rank(monkeypatch):
    assert ranks_from_env() == Ranks()
    monkeypatch.setenv("WORLD_SIZE", "8")  # some schedulers set this alone
    assert ranks_from_env() == Ranks()
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert ranks_from_env() == Ranks(5, 8, 1)


@pytest.mark.parametrize(("num_ranks", "micro_batch_size"), [(2, 0), (1, 4)])
def test_batch_normalisation_is_not_divided(num_ranks, micro_batch_size):
    config = TrainConfig(model=Network.ALEXNET_CIFAR_BN, micro_batch_size=micro_batch_size)
    network = NetworkSpec(Network.ALEXNET_CIFAR_BN, num_classes=4, crop_size_px=8)
    with pytest.raises(UsageError, match="entire batches") as caught:
        require_undivided_batches(config, network, num_ranks=num_ranks)
    assert "alexnet-cifar" in caught.value.hint
    whole = config.model_copy(update={"micro_batch_size": 0})
    require_undivided_batches(whole, network, num_ranks=1)


@pytest.fixture
def same_handlers_after() -> Iterator[None]:
    handlers = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT,
                                                          signal.SIGHUP)}  # fmt: skip
    yield
    for each, handler in handlers.items():
        signal.signal(each, handler)


@pytest.mark.usefixtures("same_handlers_after")
def test_a_rank_ignores_further_signals():
    with StopRequest(once=True) as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # would end the test otherwise
        assert stop.signal_number == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


@pytest.mark.usefixtures("same_handlers_after")
def test_a_rank_that_fails_ignores_signals_until_it_has_said_why():
    with pytest.raises(RuntimeError), StopRequest(once=True):
        raise RuntimeError
    signal.raise_signal(signal.SIGTERM)  # would end the test otherwise
