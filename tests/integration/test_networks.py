"""Every network through the commands, its switches, and starts from trained weights."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from alexnet_cli.networks import Network
from tests.integration.conftest import RUN
from tests.made_runs import make_images

LARGE = ("--image-size", "72", "--crop-size", "67", "--val-size", "4")
QUICK = (Network.CUDA_CONVNET_13PCT, Network.ALEXNET_CIFAR_BN)
CLASSES = ("bee", "wasp")


@pytest.fixture
def photos(isolated):
    """Twelve images of two classes, four to validate on and four to test."""
    for split, per_class in (("train", 6), ("val", 2), ("test", 2)):
        make_images(isolated / "photos" / split, CLASSES, per_class=per_class, side=32)
    return isolated / "photos"


@pytest.mark.parametrize(
    "name",
    [pytest.param(each, marks=() if each in QUICK else pytest.mark.slow) for each in Network],
)
def test_every_network_goes_through_all_commands(name, photos, succeed, json_of, confusion_of):
    sizes = LARGE if name in (Network.ALEXNET, Network.ALEXNET_OWT) else ()
    trained = succeed("train", "--model", name, "--data", "photos", *sizes, "--epochs", "1",
                      "-b", "6", "--drop-epochs", "", "--schedule", "constant")  # fmt: skip
    assert "4 held out" in trained.stderr
    succeed("export", "--format", "all", "--shared-weights")
    run = Path(trained.stdout.strip())
    models = (run, run / "model-shared.onnx", run / "model.safetensors")
    confusions = [confusion_of(model, "--views", "9") for model in models]
    assert confusions[0] == confusions[1] == confusions[2]
    assert json_of("predict", photos / "test" / "bee" / "0.png")["class"] in CLASSES


def test_switches_are_saved_and_honoured(small, succeed, confusion_of):
    switches = ("--activation", "tanh", "--no-lrn", "--pool", "plain", "--groups", "1",
                "--init", "paper", "--input-scaling", "centred", "--momentum-kind", "nesterov",
                "--dropout", "0.25", "--kernels", "half")  # fmt: skip
    succeed("train", *small, "--epochs", "1", *switches)
    config = tomllib.loads((RUN / "config.toml").read_text())
    assert (config["lrn"], config["groups"], config["init"]) == (False, 1, "paper")
    succeed("export", "--format", "all")
    # The header of a safetensors file is JSON behind eight bytes.
    header = (RUN / "model.safetensors").read_bytes()
    length = int.from_bytes(header[:8], "little")
    manifest = json.loads(json.loads(header[8 : 8 + length])["__metadata__"]["alexnet.manifest"])
    network, origin = manifest["network"], manifest["provenance"]
    assert (network["activation"], network["lrn"], network["pool"]) == ("tanh", False, "plain")
    assert (network["groups"], network["kernels"], network["dropout"]) == (1, "half", 0.25)
    assert manifest["input"]["scale"] == [1, 1, 1]
    assert (origin["init"], origin["momentum_kind"]) == ("paper", "nesterov")
    models = (RUN, RUN / "model.onnx", RUN / "model.safetensors")
    confusions = [confusion_of(model) for model in models]
    assert confusions[0] == confusions[1] == confusions[2]


@pytest.mark.slow
def test_a_dead_start_is_reported_with_its_remedy(small, succeed):
    flags = ("--batch-size", "4", "--kernels", "half", "--epochs", "10", "--init", "paper")
    stuck = succeed("train", *small, *flags, "--quiet")
    assert "warning: no progress after 200 updates" in stuck.stderr
    assert "ln(classes) = 2.303" in stuck.stderr
    assert "features.0" in stuck.stderr
    assert "hint: start again with --init he, or with --input-scaling centred" in stuck.stderr


def test_fine_tuning_keeps_what_is_frozen_and_gets_a_new_head(photos, trained_folder, succeed):
    weights = trained_folder / RUN / "model.safetensors"
    tuned = succeed("train", "--from", weights, "--data", "photos", "--freeze", "features",
                    "--epochs", "2", "--batch-size", "6")  # fmt: skip
    run = Path(tuned.stdout.strip())
    config = tomllib.loads((run / "config.toml").read_text())
    assert (config["learning_rate"], config["crop_size"]) == (0.001, 8)
    assert config["from_weights"] == str(weights)
    succeed("export", "--format", "safetensors")
    before, after = load_file(weights), load_file(run / "model.safetensors")
    for name, value in after.items():
        assert np.array_equal(value, before[name]) == name.startswith("features."), name
    assert after["classifier.7.weight"].shape[0] == 2
    resumed = succeed("train", "--resume", run)
    assert "has all its epochs" in resumed.stderr
    assert resumed.stderr.endswith("alexnet export --force\n")  # there is an older file


def test_models_and_explain(succeed, json_of):
    listed = {entry["name"]: entry["num_parameters"] for entry in json_of("models")}
    assert list(listed) == list(Network)
    assert listed["alexnet"] == 56_909_194
    table = succeed("models").stdout
    assert all(name in table for name in Network)
    narrow = {"COLUMNS": "80", "FORCE_COLOR": "1", "TERM": "dumb"}  # a terminal, without codes
    shown = succeed("explain", "alexnet", env=narrow).stdout
    for text in ("60,965,224", "724.4 M", "11/4/0/1", "§3.2, §3.5 │", "The training and the paper"):
        assert text in shown
    assert " memory " not in shown.splitlines()[2]
    assert " memory " in succeed("explain", "alexnet").stdout  # a pipe has every column
    switched = succeed("explain", "alexnet", "--no-lrn", env=narrow).stdout
    assert "Here: none, because it was asked" in switched
    document = json_of("explain", "alexnet", "--groups", "1")
    assert document["num_parameters"] == 62_378_344
    assert document["layers"][0]["output_shape"] == [96, 55, 55]
    assert any(text.startswith("Paper") for text in document["departures"]["network"])
