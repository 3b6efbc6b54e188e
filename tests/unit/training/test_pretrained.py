import dataclasses

import pytest
import torch

from alexnet_cli.errors import AlexnetError, UsageError
from alexnet_cli.manifest import Network
from alexnet_cli.models.build import build_network
from alexnet_cli.training.pretrained import open_pretrained, settings_of

CLASSES = ("ant", "bee", "cat", "dog", "élan")


@pytest.fixture
def weights(exported):
    return open_pretrained(str(exported.whole / "model.safetensors"))


def test_an_exported_file_has_all_that_is_needed(exported, weights):
    assert weights.manifest == exported.manifest
    network = build_network(exported.manifest.network, seed=99)
    weights.copy_into(network, classes=CLASSES)
    for name, value in exported.core.state_dict().items():
        assert torch.equal(network.state_dict()[name], value)
    settings = settings_of(str(exported.whole / "model.safetensors"))
    assert settings["model"] is Network.ALEXNET_CIFAR
    assert (settings["image_size"], settings["crop_size"]) == (12, 8)


def test_a_head_for_other_classes_is_drawn_anew(exported, weights):
    spec = dataclasses.replace(exported.manifest.network, num_classes=3)
    network, fresh = build_network(spec, seed=7), build_network(spec, seed=7)
    weights.copy_into(network, classes=CLASSES)
    for name, value in network.state_dict().items():
        source = fresh if name.startswith("classifier.7") else exported.core
        assert torch.equal(source.state_dict()[name], value), name


def test_a_head_for_as_many_other_classes_is_drawn_anew(exported, weights):
    network = build_network(exported.manifest.network, seed=7)
    fresh = build_network(exported.manifest.network, seed=7)
    weights.copy_into(network, classes=("a", "b", "c", "d", "e"))
    for name, value in network.state_dict().items():
        source = fresh if name.startswith("classifier.7") else exported.core
        assert torch.equal(source.state_dict()[name], value), name


@pytest.mark.parametrize("change", [{"crop_size_px": 16}, {"groups": 1}], ids=str)
def test_another_network_is_refused_before_anything_is_copied(exported, weights, change):
    network = build_network(dataclasses.replace(exported.manifest.network, **change), seed=7)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(UsageError, match="do not fit"):
        weights.copy_into(network, classes=CLASSES)
    assert all(torch.equal(before[n], v) for n, v in network.state_dict().items())


@pytest.mark.parametrize("name", ["nowhere", "nowhere.safetensors", "file.onnx"])
def test_what_is_not_there_is_refused(isolated, name):
    (isolated / "file.onnx").write_bytes(b"")
    with pytest.raises(UsageError, match=name) as caught:
        open_pretrained(name)
    assert "owt" in caught.value.hint


def test_weights_not_downloaded_yet_say_how():
    with pytest.raises(AlexnetError, match="not in") as caught:
        open_pretrained("owt")
    assert caught.value.hint == "fetch them with: alexnet download --weights owt"


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"\x02\0\0\0\0\0\0\0{}"], ids=len)
def test_damaged_files_are_refused(isolated, content):
    (isolated / "bad.safetensors").write_bytes(content)
    with pytest.raises(AlexnetError, match=r"bad\.safetensors"):
        open_pretrained("bad.safetensors")
