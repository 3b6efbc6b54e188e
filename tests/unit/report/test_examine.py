import json
import shutil

import numpy as np
import pytest
import torch

from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.errors import CheckpointError, DataError, TrainingError, UsageError
from alexnet_cli.evaluation.metrics import softmax
from alexnet_cli.manifest import InputSpec, Manifest, Provenance
from alexnet_cli.models.build import PixelNetwork, build_network
from alexnet_cli.networks import Network, NetworkSpec
from alexnet_cli.report.examine import (
    draw_indices,
    examine,
    find_neighbours,
    load_images_of,
    read_run,
)
from alexnet_cli.training.open_model import rebuild_model

CPU = torch.device("cpu")


def arrays(count, side, seed=0):
    draw = np.random.default_rng(seed)
    images = draw.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return ImageArrays(images, draw.integers(0, 3, count))


@pytest.mark.parametrize(
    ("name", "side", "num_units"),
    [
        (Network.ALEXNET_OWT, 67, 4096),
        (Network.ALEXNET_CIFAR_BN, 8, 1024),
        (Network.CUDA_CONVNET_80SEC, 8, 64),
        (Network.CUDA_CONVNET_11PCT, 8, 128),  # a single fully connected layer
    ],
)
def test_a_copy_of_a_training_image_is_its_nearest_neighbour(name, side, num_units):
    info = name.info
    spec = NetworkSpec(name, 3, side, lrn=info.lrn, groups=info.groups)
    input_spec = InputSpec(side, side, (0.02,) * 3, (-2.5,) * 3)
    manifest = Manifest(spec, input_spec, ("a", "b", "c"), Provenance("x", 1, 5, 1, 0.5, "", {}))
    network = PixelNetwork(build_network(spec, seed=2), input_spec).eval()
    train = arrays(7, side)
    copied = np.array([4, 0, 6])
    near = find_neighbours(network, manifest, train.take(copied), train, device=CPU)
    assert near.num_units == num_units
    assert near.num_searched == 7
    assert near.nearest_QM[:, 0].tolist() == copied[near.queries_Q].tolist()
    assert (np.diff(near.distances_QM, axis=1) >= 0).all()
    assert (near.distances_QM[:, 0] < 1e-3 * near.distances_QM[:, 1]).all()  # but for rounding


def test_neighbours_are_those_of_a_plain_search(examined):
    network = rebuild_model(examined.record.best, device=CPU)
    size = examined.record.manifest.input

    def hidden(source):
        crops = source.load_images(size.image_size_px)[:, 2:10, 2:10]
        with torch.inference_mode():
            pixels = torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float()
            scaled = pixels * network.scale_C11 + network.shift_C11
            core = network.network
            return core.classifier[:-1](core.features(scaled)).double().numpy()

    near, train = examined.neighbours, hidden(examined.train)
    for query, found in zip(near.queries_Q, near.nearest_QM, strict=True):
        wanted = hidden(examined.val.take(np.array([query])))
        distances = np.sqrt(((train - wanted) ** 2).sum(axis=1))
        assert found.tolist() == np.argsort(distances, kind="stable")[:6].tolist()


def test_probabilities_are_the_network_s_own(examined):
    network = rebuild_model(examined.record.best, device=CPU)
    crops = np.ascontiguousarray(examined.val.load_images(12)[:, 2:10, 2:10])
    with torch.inference_mode():
        expected = softmax(network(torch.from_numpy(crops)).numpy())
    found = examined.examination
    np.testing.assert_allclose(found.probabilities_NK, expected, rtol=0, atol=1e-6)
    assert found.summary.num_images == 20
    assert found.counts_KK.sum() == 20
    assert found.counts_KK.trace() == round(20 * found.summary.top1)


def test_outputs_that_are_not_finite_are_an_error(small_run, examined):
    record = read_run(small_run)
    network = rebuild_model(record.best, device=CPU)
    with torch.no_grad():
        network.network.classifier[-1].bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match="not finite"):
        examine(network, record.manifest, examined.val, device=CPU)


def test_draws_repeat_and_differ_by_stream():
    assert draw_indices(100, 8, stream=0).tolist() == draw_indices(100, 8, stream=0).tolist()
    assert draw_indices(100, 8, stream=0).tolist() != draw_indices(100, 8, stream=1).tolist()
    assert sorted(draw_indices(3, 8, stream=0).tolist()) == [0, 1, 2]


@pytest.fixture
def run(small_run, tmp_path):
    return shutil.copytree(small_run, tmp_path / "run")


def test_a_run_has_its_best_checkpoint_and_all_epochs(run):
    record = read_run(run)
    assert record.best.folder.name == "step-2"  # 37.5 % against 25 % and 30 %
    assert [row.epoch for row in record.history] == [1, 2, 3]
    assert record.command == "alexnet train"
    assert record.seconds == pytest.approx(4.9)
    assert record.name == "run"


@pytest.mark.parametrize("content", [None, b"{}"], ids=["no file", "no command"])
def test_a_command_that_was_not_recorded_is_empty(run, content):
    (run / "environment.json").unlink()
    if content:
        (run / "environment.json").write_bytes(content)
    assert read_run(run).command == ""


def test_a_damaged_best_checkpoint_is_skipped_with_a_warning(run):
    (run / "checkpoints" / "step-2" / "model.safetensors").write_bytes(b"x")
    warnings = []
    assert read_run(run, warn=warnings.append).best.folder.name == "step-3"
    assert len(warnings) == 1


@pytest.mark.parametrize(
    "content",
    [b"{", b"\xff", b"[]", b'{"command": "alexnet"}', b'{"command": [1]}', b"[" * 100_000],
    ids=["cut", "no text", "list", "string", "numbers", "deep"],
)
def test_a_damaged_environment_is_an_error(run, content):
    (run / "environment.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"environment\.json is damaged") as raised:
        read_run(run)
    assert raised.value.hint.startswith("the report does not need it: rm ")


def test_a_folder_that_is_not_a_run(run, tmp_path):
    with pytest.raises(CheckpointError, match="is not a run folder"):
        read_run(tmp_path / "none")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.toml").touch()
    with pytest.raises(CheckpointError, match="has no checkpoint yet"):
        read_run(tmp_path / "begun")
    with pytest.raises(UsageError, match="is a checkpoint") as raised:
        read_run(run / "checkpoints" / "step-2")
    assert raised.value.hint == f"alexnet report {run}"


def test_a_run_before_its_first_epoch(make_run, make_images):
    run = make_run(make_images(("a", "b"), per_class=16), history=())
    with pytest.raises(CheckpointError, match="has not completed an epoch yet"):
        read_run(run)


def test_damaged_checkpoints_alone(run):
    for state in run.glob("checkpoints/*/state.json"):
        state.write_text(json.dumps({}))
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        read_run(run)


@pytest.fixture
def record_and_folder(make_images, make_run):
    folder = make_images(("a", "b"), per_class=16)
    return read_run(make_run(folder)), folder


def test_the_run_s_own_images_are_found_again(record_and_folder):
    train, val = load_images_of(record_and_folder[0])
    assert (len(train), len(val)) == (12, 20)


def test_a_missing_folder_is_named(record_and_folder):
    record, folder = record_and_folder
    shutil.rmtree(folder)
    with pytest.raises(DataError, match=f"the images of the run .* no folder {folder}") as raised:
        load_images_of(record)
    assert raised.value.code == "images_gone"


def test_changed_images_are_refused(record_and_folder):
    record, folder = record_and_folder
    (folder / "a" / "0.png").rename(folder / "b" / "new.png")
    with pytest.raises(DataError, match="not those that") as raised:
        load_images_of(record)
    assert raised.value.code == "images_differ"


def test_a_missing_class_folder_is_an_error(record_and_folder):
    record, folder = record_and_folder
    shutil.rmtree(folder / "b")
    with pytest.raises(DataError, match="the images of the run"):
        load_images_of(record)
