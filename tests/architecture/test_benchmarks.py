"""The benchmarks run at tiny sizes, their sums are right, and the page agrees with the results."""

import gc
import math
import os
import sys
from dataclasses import replace
from importlib import metadata

import pytest
import torch
from safetensors.torch import load_file

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.image import prepare_image
from alexnet_cli.inference.session import load_model
from alexnet_cli.models.build import build_network, outline_network
from alexnet_cli.networks import Network, NetworkSpec
from benchmarks import (
    alexnet_side,
    checkpoint,
    epoch,
    evaluate,
    lrn,
    peers,
    plain_loop,
    predict,
    predict_peers,
    predict_torch,
    table,
    table_rows,
    time_to_accuracy,
    train_step,
    whole_process,
)
from benchmarks.metrics import Comparison, Goal
from benchmarks.operations import multiply_adds, step_operations
from benchmarks.settings import Settings
from benchmarks.timing import alternate

_CPU = torch.device("cpu")
_TINY = Settings(
    _CPU, "shapes", repeats=2, batch_size=2, crops_px=(12,), lrn_shape=(2, 8, 4, 4),
    matmul_size=32, inner=1,
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def quick_garbage_collection():
    """Garbage is collected before each timing: exclude what other tests have loaded."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def test_the_page_is_generated_from_the_results():
    assert table.PAGE.read_text() == table.render(table.read_results()), (
        "run: python -m benchmarks.table"
    )


@pytest.mark.slow
@pytest.mark.parametrize("part", [lrn, train_step])
def test_a_tiny_run_gives_finite_ratios(part):
    rows = [comparison.to_dict() for comparison in part.measure(_TINY)]
    assert len(rows) >= 2
    for row in rows:
        assert 0 < row["ratio"] < math.inf
        assert row["ours"]["n"] == row["theirs"]["n"] == _TINY.repeats
        assert row["ours"]["min"] <= row["ours"]["median"] <= row["ours"]["max"]
        assert table_rows.row_of(row).count("|") == table_rows.HEADER[0].count("|")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("part", [checkpoint, epoch, evaluate])
def test_a_tiny_run_with_the_data_path_gives_finite_ratios(part):
    tiny = replace(_TINY, long_repeats=1, epoch_batches=2, num_eval_images=4)
    for comparison in part.measure(tiny):
        assert math.isfinite(comparison.ratio)
        assert min(comparison.theirs) > 0
        assert comparison.ratio > 0 or part is checkpoint  # a difference


@pytest.mark.slow
def test_the_prediction_of_a_folder_is_timed(tmp_path):
    measured = predict.measure_folder(tmp_path, (40, 30), 10, rounds=1)
    assert min(measured["images_per_second"].values()) > 0
    assert 0 < measured["share_of_the_slower"] < math.inf


@pytest.mark.slow
def test_the_pytorch_script_predicts_as_alexnet_does(tmp_path):
    predict.write_images(tmp_path / "images", 2, (32, 32))
    model = predict.write_model("alexnet-cifar", (32, 28), tmp_path / "model", shared=True)
    network = predict_torch.build(28).eval()
    network.load_state_dict(load_file(model.with_name("model.safetensors")))
    for path in (tmp_path / "images").iterdir():
        crop = prepare_image(path, image_size_px=32, crop_size_px=28)
        own = load_model(model, device="cpu").probabilities(crop[None])
        with torch.no_grad():
            other = network(predict_torch.read(path, 32, 28)[None]).softmax(1)
        torch.testing.assert_close(torch.tensor(own), other, rtol=1e-4, atol=1e-5)


def test_memory_and_time_of_a_command_are_those_of_all_its_processes():
    held = "held = bytearray(100_000_000); held[::4096] = bytes(len(held[::4096]))"
    usage = whole_process.measure([sys.executable, "-c", held], os.environ)
    assert 100 < usage.peak_mb < 150
    assert 0 < usage.processor_seconds <= usage.wall_seconds * 2
    child = (
        f"import subprocess, sys; {held}; "
        f"subprocess.run([sys.executable, '-c', {held + '; import time; time.sleep(1)'!r}])"
    )
    assert whole_process.measure([sys.executable, "-c", child], os.environ, sample=True)[2] > 200
    with pytest.raises(RuntimeError, match="no such thing"):
        whole_process.measure([sys.executable, "-c", "exit('no such thing')"], os.environ)


def test_versions_of_peers_are_those_of_their_environment():
    assert peers.version_in(sys.executable, "torch") == metadata.version("torch")
    assert peers.version_in(sys.executable, "no-such-package") is None


@pytest.mark.slow
def test_folders_are_compared_with_the_installed_peers(tmp_path):
    contenders = predict_peers.Contenders(tmp_path, sys.executable, 2)
    comparisons = predict_peers.compare_folders(contenders, rounds=1)
    assert {each.peer for each in comparisons} >= {"PyTorch script, alexnet-cifar"}
    assert min(min(each.ours) for each in comparisons) > 0


def test_the_ratio_is_of_the_medians_and_bounded_by_its_goal():
    seconds = Comparison(
        "p", "w", "x", "s", [1, 2, 3], [20, 60, 30], is_inverse=True, goal=Goal(">=", 20)
    )
    result = seconds.to_dict()
    assert result["ratio"] == 15
    assert (result["ratio_min"], result["ratio_max"]) == (10, 30)
    assert result["met"] is False
    assert Comparison("p", "w", "x", "MB", [5], [10], goal=Goal("<=", 1)).to_dict()["met"] is True


def test_works_take_turns():
    order = []
    works = {name: lambda name=name: order.append(name) for name in "AB"}
    seconds = alternate(works, repeats=2, device=_CPU, warmups=1)
    assert "".join(order) == "ABABAB"
    assert [len(samples) for samples in seconds.values()] == [2, 2]


def test_the_operations_of_an_update_are_counted():
    # The number in the documentation of the network's design: 218.7 million at 32 px.
    network = outline_network(NetworkSpec(Network.ALEXNET_CIFAR, 10, 32))
    counts = multiply_adds(network, 32)
    first = 96 * 32 * 32 * 5 * 5 * 3
    assert counts[0] == first
    assert round(sum(counts) / 1e6, 1) == 218.7
    assert step_operations(network, 32, 2) == 2 * (6 * sum(counts) - 2 * first)


def test_the_plain_network_is_the_same_network(tmp_path):
    images = alexnet_side.noise_images(10)
    manifest = alexnet_side.describe(TrainConfig(data="shapes"), images)
    plain, own = plain_loop.build_model(manifest).eval(), build_network(manifest.network).eval()
    assert any(isinstance(layer, torch.nn.LocalResponseNorm) for layer in plain.modules())
    plain_loop.write_files(tmp_path, images, images)
    loader = plain_loop.make_loader(
        tmp_path, is_training=False, crop_px=28, batch_size=4, num_images=4
    )
    loader.num_workers = 0
    batch, labels = next(iter(loader))
    assert labels.tolist() == images.labels_N[:4].tolist()
    with torch.no_grad():
        torch.testing.assert_close(plain(batch), own(batch), rtol=1e-4, atol=1e-5)


def test_seconds_to_an_accuracy_are_those_until_the_first_epoch_that_has_it():
    rows = [
        {"train_seconds": "9", "val_seconds": "1", "val_top1": top1} for top1 in ("0.6", "0.72")
    ]
    assert time_to_accuracy.seconds_to(rows, 0.7) == 20
    assert time_to_accuracy.seconds_to(rows, 0.75) is None
