"""Every network through the commands, its switches, and starts from trained weights."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet_cli.data import shapes
from alexnet_cli.networks import Network
from tests.conftest import Run

LARGE = ("--data", "photos", "--image-size", "72", "--crop-size", "67", "--val-size", "4")


@pytest.fixture
def photos(isolated: Path) -> Path:
    """Twelve images of two classes, and four to validate on."""
    for split, seeds in (("train", range(6)), ("val", range(6, 8)), ("test", range(8, 10))):
        for seed in seeds:
            images, labels = shapes.draw_shapes(40, seed=seed)
            for label in (0, 1):
                folder = isolated / "photos" / split / shapes.CLASSES[label]
                folder.mkdir(parents=True, exist_ok=True)
                image = images[np.flatnonzero(labels == label)[0]]
                Image.fromarray(image).save(folder / f"{seed}.png")
    return isolated / "photos"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == Network.CUDA_CONVNET_13PCT else pytest.mark.slow)
        for name in Network
    ],
)
def test_every_network_goes_through_all_commands(name: Network, photos: Path, alexnet: Run) -> None:
    sizes = LARGE if name in (Network.ALEXNET, Network.ALEXNET_OWT) else ("--data", "photos")
    trained = alexnet("train", "--model", name, *sizes, "--epochs", "1", "--batch-size", "6",
                      "--drop-epochs", "", "--schedule", "constant")  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    assert "4 held out" in trained.stderr
    exported = alexnet("export", "--format", "all", "--shared-weights")
    assert exported.returncode == 0, exported.stderr
    run = Path(trained.stdout.strip())
    confusions = []
    for model in (run, run / "model.onnx"):  # its weights are in the safetensors file
        measured = alexnet("evaluate", model, "--json", "--views", "9", "--device", "cpu")
        assert measured.returncode == 0, measured.stderr
        confusions.append(json.loads(measured.stdout)["confusion"])
    assert confusions[0] == confusions[1]
    predicted = alexnet("predict", min((photos / "test").rglob("*.png")), "--json")
    assert predicted.returncode == 0, predicted.stderr
    assert json.loads(predicted.stdout)["class"] in shapes.CLASSES[:2]


def test_switches_are_saved_and_honoured(small: tuple[str, ...], alexnet: Run) -> None:
    switches = ("--activation", "tanh", "--no-lrn", "--pool", "plain", "--groups", "1",
                "--init", "paper", "--input-scaling", "centred", "--momentum-kind", "nesterov",
                "--dropout", "0.25", "--kernels", "half")  # fmt: skip
    trained = alexnet("train", *small, "--epochs", "1", *switches)
    assert trained.returncode == 0, trained.stderr
    run = Path(trained.stdout.strip())
    config = tomllib.loads((run / "config.toml").read_text())
    assert (config["lrn"], config["groups"], config["init"]) == (False, 1, "paper")
    exported = alexnet("export", "--format", "all")
    assert exported.returncode == 0, exported.stderr
    # The header of a safetensors file is JSON behind eight bytes.
    header = (run / "model.safetensors").read_bytes()
    length = int.from_bytes(header[:8], "little")
    manifest = json.loads(json.loads(header[8 : 8 + length])["__metadata__"]["alexnet.manifest"])
    network = manifest["network"]
    assert (network["activation"], network["lrn"], network["pool"]) == ("tanh", False, "plain")
    assert (network["groups"], network["kernels"], network["dropout"]) == (1, "half", 0.25)
    assert manifest["input"]["scale"] == [1, 1, 1]
    origin = manifest["provenance"]
    assert (origin["init"], origin["momentum_kind"]) == ("paper", "nesterov")
    agreed = [
        json.loads(alexnet("evaluate", *path, "--json", "--device", "cpu").stdout)["confusion"]
        for path in ((), (run / "model.onnx",), (run / "model.safetensors",))
    ]
    assert agreed[0] == agreed[1] == agreed[2]


def test_a_start_that_is_none_is_told_with_its_cure(small: tuple[str, ...], alexnet: Run) -> None:
    train = ("train", *small, "--batch-size", "4", "--kernels", "half", "--epochs", "10", "--quiet")
    stuck = alexnet(*train, "--init", "paper")
    assert stuck.returncode == 0, stuck.stderr
    assert "warning: no progress after 200 updates" in stuck.stderr
    assert "ln(classes) = 2.303" in stuck.stderr
    assert "features.0" in stuck.stderr
    assert "hint: start again with --init he, or with --input-scaling centred" in stuck.stderr
    well = alexnet(*train)
    assert well.returncode == 0
    assert "no progress" not in well.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "alexnet"), ("made for 224 px", "--image-size 227", "alexnet-cifar")),
        (("--model", "alexnet-owt", "--image-size", "32"), ("at least 63 px", "alexnet-cifar")),
        (("--model", "alexnet-cifar-bn", "--lrn"), ("cannot be built with --lrn",)),
        (("--model", "cuda-convnet-18pct", "--init", "paper"), ("were published", "--init he")),
        (("--model", "cuda-convnet-13pct", "--recipe", "fast"), ("no fast recipe",)),
        (("--model", "cuda-convnet-80sec", "--image-size", "12"), ("not 12", "--image-size 32")),
        (("--drop-epochs", "3"), ("need each other", "--schedule stages --drop-epochs")),
        (("--schedule", "stages", "--drop-epochs", "1,2,"), ("by commas", "--drop-epochs 120,130")),
        (("--schedule", "stages", "--drop-epochs", "91"), ("90 epochs", "more --epochs")),
        (("--freeze", "features"), ("needs from_weights",)),
        (("--model", "cuda-convnet-80sec", "--dropout", "0.5"), ("has no dropout",)),
        (("--from", "nowhere"), ("trained weights", "owt")),
        (("--groups", "3"), ("--groups",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_does_not_go_together_is_refused(
    arguments: tuple[str, ...], words: tuple[str, ...], alexnet: Run
) -> None:
    refused = alexnet("train", "--data", "shapes", *arguments)
    assert refused.returncode == 2, refused.stderr
    for word in words:
        assert word in refused.stderr
    assert not Path("runs").exists()


def test_fine_tuning_keeps_what_is_frozen_and_gets_a_new_head(
    photos: Path, trained_folder: Path, alexnet: Run
) -> None:
    weights = trained_folder / "runs" / "alexnet-cifar-shapes" / "model.safetensors"
    tuned = alexnet("train", "--from", weights, "--data", "photos", "--freeze", "features",
                    "--epochs", "2", "--batch-size", "6")  # fmt: skip
    assert tuned.returncode == 0, tuned.stderr
    run = Path(tuned.stdout.strip())
    config = tomllib.loads((run / "config.toml").read_text())
    assert (config["learning_rate"], config["crop_size"]) == (0.001, 8)
    assert config["from_weights"] == str(weights)
    exported = alexnet("export", "--format", "safetensors")
    assert exported.returncode == 0, exported.stderr
    from safetensors.numpy import load_file

    before, after = load_file(weights), load_file(run / "model.safetensors")
    for name, value in after.items():
        is_same = value.shape == before[name].shape and np.array_equal(value, before[name])
        assert is_same == name.startswith("features."), name
    assert after["classifier.7.weight"].shape[0] == 2
    resumed = alexnet("train", "--resume", run)
    assert "has all its 2 epochs" in resumed.stderr


def test_models_and_explain(alexnet: Run) -> None:
    listed = json.loads(alexnet("models", "--json").stdout)
    assert [entry["name"] for entry in listed] == list(Network)
    assert {entry["name"]: entry["num_parameters"] for entry in listed}["alexnet"] == 56_909_194
    table = alexnet("models").stdout
    assert all(name in table for name in Network)
    shown = alexnet("explain", "alexnet")
    assert shown.returncode == 0, shown.stderr
    for words in ("60,965,224", "724.4 M", "11/4/0/1", "§3.3", "The training and the paper"):
        assert words in shown.stdout
    document = json.loads(alexnet("explain", "alexnet", "--groups", "1", "--json").stdout)
    assert document["num_parameters"] == 62_378_344
    assert document["layers"][0]["output_shape"] == [96, 55, 55]
    assert any(text.startswith("Paper") for text in document["departures"]["network"])
    switched = alexnet("explain", "alexnet", "--no-lrn", env={"COLUMNS": "80"}).stdout
    assert "§3.2, §3.5 │" in alexnet("explain", "alexnet", env={"COLUMNS": "80"}).stdout
    assert "Here: none, because it was asked" in switched
    unknown = alexnet("explain", "vgg")
    assert unknown.returncode == 2
    assert "alexnet-cifar" in unknown.stderr
