"""The benchmarks run at tiny sizes, their sums are right, and the page agrees with the results."""

import gc
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch

from alexnet_cli.models.build import outline_network
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
    _CPU,
    "shapes",
    repeats=2,
    batch_size=2,
    crops_px=(12,),
    lrn_shape=(2, 8, 4, 4),
    matmul_size=32,
    inner=1,
)


@pytest.fixture(autouse=True, scope="module")
def quick_garbage_collection() -> Iterator[None]:
    """Garbage is collected before each timing: exclude what other tests have loaded."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def test_the_page_is_generated_from_the_results() -> None:
    assert table.PAGE.read_text() == table.render(table.read_results()), (
        "run: python -m benchmarks.table"
    )


@pytest.mark.parametrize("part", [lrn, train_step])
def test_a_tiny_run_gives_finite_ratios(part: Any) -> None:
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
def test_a_tiny_run_with_the_data_path_gives_finite_ratios(part: Any) -> None:
    tiny = replace(_TINY, long_repeats=1, epoch_batches=2, num_eval_images=4)
    for comparison in part.measure(tiny):
        assert math.isfinite(comparison.ratio)
        assert min(comparison.theirs) > 0
        assert comparison.ratio > 0 or part is checkpoint  # a difference


@pytest.mark.slow
def test_the_prediction_of_a_folder_is_timed(tmp_path: Path) -> None:
    measured = predict.measure_folder(tmp_path, (40, 30), 10, rounds=1)
    assert min(measured["images_per_second"].values()) > 0
    assert 0 < measured["share_of_the_slower"] < math.inf


def test_the_pytorch_script_predicts_as_alexnet_does(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from alexnet_cli.image import prepare_image
    from alexnet_cli.inference.session import load_model

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


def test_memory_and_time_of_a_command_are_those_of_all_its_processes() -> None:
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


def test_versions_of_peers_are_those_of_their_environment() -> None:
    assert peers.version_in(sys.executable, "torch") == metadata.version("torch")
    assert peers.version_in(sys.executable, "no-such-package") is None


@pytest.mark.slow
def test_folders_are_compared_with_the_installed_peers(tmp_path: Path) -> None:
    contenders = predict_peers.Contenders(tmp_path, sys.executable, 2)
    comparisons = predict_peers.compare_folders(contenders, rounds=1)
    assert {each.peer for each in comparisons} >= {"PyTorch script, alexnet-cifar"}
    assert min(min(each.ours) for each in comparisons) > 0


def test_the_ratio_is_of_the_medians_and_bounded_by_its_goal() -> None:
    seconds = Comparison(
        "p", "w", "x", "s", [1, 2, 3], [20, 60, 30], is_inverse=True, goal=Goal(">=", 20)
    )
    result = seconds.to_dict()
    assert result["ratio"] == 15
    assert (result["ratio_min"], result["ratio_max"]) == (10, 30)
    assert result["met"] is False
    assert Comparison("p", "w", "x", "MB", [5], [10], goal=Goal("<=", 1)).to_dict()["met"] is True


def test_works_take_turns() -> None:
    order: list[str] = []
    works = {name: lambda name=name: order.append(name) for name in "AB"}
    seconds = alternate(works, repeats=2, device=_CPU, warmups=1)
    assert "".join(order) == "ABABAB"
    assert [len(samples) for samples in seconds.values()] == [2, 2]


def test_the_operations_of_an_update_are_counted() -> None:
    # The number in the documentation of the network's design: 218.7 million at 32 px.
    network = outline_network(NetworkSpec(Network.ALEXNET_CIFAR, 10, 32))
    counts = multiply_adds(network, 32)
    first = 96 * 32 * 32 * 5 * 5 * 3
    assert counts[0] == first
    assert round(sum(counts) / 1e6, 1) == 218.7
    assert step_operations(network, 32, 2) == 2 * (6 * sum(counts) - 2 * first)


def test_the_plain_network_is_the_same_network(tmp_path: Path) -> None:
    from alexnet_cli.config.schema import TrainConfig
    from alexnet_cli.models.build import build_network

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


def test_results_of_both_kinds_have_a_section() -> None:
    rows = [{"train_seconds": "9", "val_seconds": "1", "val_top1": "0.72"}]
    run = {
        "seed": 1, "epochs": 1, "seconds": 10.0, "val_top1": 0.72,
        "test_top1": 0.7, "test_top1_interval": [0.69, 0.71],
        "seconds_to_val_top1": {
            str(level): time_to_accuracy.seconds_to(rows, level) for level in (0.7, 0.75)
        },
    }  # fmt: skip
    common = {
        "commit": "0" * 40, "date": "2026-01-01T00:00:00+00:00", "versions": {"torch": "2"},
        "machine": {
            "cpu": "a CPU", "cpu_flags": [], "threads": 2, "device": "cpu", "lrn": "compiled C",
            "load_before": [0.1, 0.1, 0.1],
        },
    }  # fmt: skip
    comparison = Comparison(
        "lrn", "w", "x", "ms", [1.0], [30.0], is_inverse=True, goal=Goal(">=", 20)
    )
    benchmark = {
        "kind": "benchmark", **common, "form": "full", "figures": [comparison.to_dict()],
        "rates": {"copy_gb_per_s": {"median": 1.0, "min": 1.0, "max": 1.0}},
    }  # fmt: skip
    accuracy = {
        "kind": "time_to_accuracy", **common, "model": "m", "command": "alexnet train", "views": 1,
        "runs": [run], "over_seeds": time_to_accuracy.over_seeds([run]),
    }  # fmt: skip
    page = table.render([benchmark, accuracy])
    assert "30 [30–30] | ≥ 20, met |" in page
    assert "70%: 10; 75%: not reached." in page
    assert "| 1 | 1 | 10 | 72.00% | 70.00% | 69.00% to 71.00% |" in page
