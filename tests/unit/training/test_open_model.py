import dataclasses

import pytest
import torch

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.errors import AlexnetError, ModelFileError, UsageError
from alexnet_cli.models.build import build_network
from alexnet_cli.networks import Network
from alexnet_cli.training.open_model import open_pretrained, settings_of
from alexnet_cli.training.run import prepare_run

CLASSES = ("ant", "bee", "cat", "dog", "élan")


@pytest.fixture
def weights(exported):
    return open_pretrained(str(exported.whole / "model.safetensors"))


def test_an_exported_file_has_all_that_is_needed(exported, weights):
    assert weights.manifest == exported.manifest
    network = build_network(exported.manifest.network, seed=99)
    weights.copy_into(network, classes=CLASSES)
    for name, value in exported.network.state_dict().items():
        assert torch.equal(network.state_dict()[name], value)
    settings = settings_of(str(exported.whole / "model.safetensors"))
    assert settings["model"] is Network.ALEXNET_CIFAR
    assert (settings["image_size"], settings["crop_size"]) == (12, 8)


@pytest.mark.parametrize("classes", ["abc", "abcde"], ids=["fewer", "as many"])
def test_the_last_layer_is_drawn_anew_for_other_classes(exported, weights, classes):
    spec = dataclasses.replace(exported.manifest.network, num_classes=len(classes))
    network, fresh = build_network(spec, seed=7), build_network(spec, seed=7)
    weights.copy_into(network, classes=tuple(classes))
    for name, value in network.state_dict().items():
        source = fresh if name.startswith("classifier.7") else exported.network
        assert torch.equal(source.state_dict()[name], value), name


@pytest.mark.parametrize("change", [{"crop_size_px": 16}, {"groups": 1}], ids=str)
def test_another_network_is_refused_before_anything_is_copied(exported, weights, change):
    network = build_network(dataclasses.replace(exported.manifest.network, **change), seed=7)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(UsageError, match="do not fit"):
        weights.copy_into(network, classes=CLASSES)
    assert all(torch.equal(before[n], v) for n, v in network.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "text", "hint"),
    [
        ({"model": "alexnet-owt"}, "are of alexnet-cifar, not of alexnet-owt", "--model"),
        ({"activation": "tanh"}, "activation relu, not with --activation tanh", "--activation"),
        ({"lrn": False}, "--lrn, not with --no-lrn", "--lrn"),
        ({"pool": "plain"}, "--pool overlapping, not with --pool plain", "--pool"),
        ({"groups": 1}, "--groups 2, not with --groups 1", "--groups"),
    ],
    ids=str,
)
def test_another_network_or_option_is_refused_by_name(weights, settings, text, hint):
    weights.require_same_network(TrainConfig(lrn=True, groups=2))
    weights.require_same_network(TrainConfig())  # the network's own
    with pytest.raises(UsageError, match=text) as caught:
        weights.require_same_network(TrainConfig(**settings))
    assert hint in caught.value.hint


def test_a_run_is_refused_when_its_weights_would_compute_something_else(exported, isolated):
    config = TrainConfig(
        data="shapes", from_weights=str(exported.whole / "model.safetensors"), pool="plain",
        image_size=12, crop_size=8, val_size=9_990,
    )  # fmt: skip
    with pytest.raises(UsageError, match="--pool plain"):
        prepare_run(config, torch.device("cpu"), name="x", parent=isolated)
    assert list(isolated.iterdir()) == []


def test_one_checkpoint_of_a_run_can_be_named(save):
    folders = [save(step, best_step=1) for step in (1, 2)]
    first, second = (open_pretrained(str(folder)).tensors for folder in folders)
    assert not torch.equal(first["weight"], second["weight"])
    best = open_pretrained(str(folders[0].parents[1])).tensors
    assert torch.equal(best["weight"], first["weight"])
    assert settings_of(str(folders[1]))["crop_size"] == 8


def test_incomplete_weights_rebuild_no_network(weights):
    rest = {name: value for name, value in weights.tensors.items() if "classifier.7" not in name}
    with pytest.raises(ModelFileError, match=r"classifier\.7\.bias differs"):
        dataclasses.replace(weights, tensors=rest).rebuild()


def test_the_hint_for_an_onnx_file_names_the_weights_next_to_it(exported):
    with pytest.raises(UsageError, match=r"model\.onnx cannot be trained further") as caught:
        settings_of(str(exported.whole / "model.onnx"))
    assert caught.value.hint.endswith(str(exported.whole / "model.safetensors"))


@pytest.mark.parametrize("name", ["nowhere", "nowhere.safetensors", "file.onnx"])
def test_a_missing_file_is_refused(isolated, name):
    (isolated / "file.onnx").write_bytes(b"")
    with pytest.raises(UsageError, match=name) as caught:
        open_pretrained(name)
    assert "owt" in caught.value.hint


def test_weights_that_are_not_downloaded_are_refused_with_the_command():
    with pytest.raises(AlexnetError, match="not in") as caught:
        open_pretrained("owt")
    assert caught.value.hint == "download them with: alexnet download --weights owt"


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"\x02\0\0\0\0\0\0\0{}"], ids=len)
def test_damaged_files_are_refused(isolated, content):
    (isolated / "bad.safetensors").write_bytes(content)
    with pytest.raises(AlexnetError, match=r"bad\.safetensors") as caught:
        open_pretrained("bad.safetensors")
    assert "alexnet export" in caught.value.hint


def test_weights_cut_short_have_a_hint(exported, isolated):
    content = (exported.whole / "model.safetensors").read_bytes()
    (isolated / "checkpoints").mkdir()
    (isolated / "bad.safetensors").write_bytes(content[:-9])
    with pytest.raises(AlexnetError, match=r"bad\.safetensors") as caught:
        open_pretrained("bad.safetensors")
    assert caught.value.hint == "export it with: alexnet export . --format safetensors"
