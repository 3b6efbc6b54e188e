"""The five commands, one after the other, with the newest run found by itself."""

import csv
import json
import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet_cli.inference import Classifier
from tests.integration.conftest import RUN

PLOTS = ("metrics.png", "confusion.png", "filters.png")


def test_run_folder_holds_what_it_promises(work):
    config = tomllib.loads((RUN / "config.toml").read_text())
    assert (config["epochs"], config["crop_size"], config["learning_rate"]) == (2, 8, 0.01)
    rows = list(csv.DictReader((RUN / "metrics.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    result = json.loads((RUN / "metrics.json").read_text())
    assert result["best_val_top1"] == max(float(row["val_top1"]) for row in rows)
    assert json.loads((RUN / "environment.json").read_text())["versions"]["torch"]
    assert "test set was not used" in (RUN / "README.md").read_text()


def test_train_leaves_plots(work):
    for name in PLOTS:
        with Image.open(RUN / name) as image:
            image.load()
            assert min(image.size) > 300


def test_plots_that_cannot_be_written_do_not_lose_the_run(work, succeed):
    for name in PLOTS:
        (RUN / name).unlink()
    (RUN / "metrics.png" / "in the way").mkdir(parents=True)
    again = succeed("train", "--resume", RUN, "--plots", "-q")
    assert again.stdout == f"{RUN}\n"
    assert "the run is complete, but" in again.stderr


@pytest.mark.parametrize("flags", [(), ("--corrupt", "noise:5")])
def test_checkpoint_and_exports_agree_to_the_sample(flags, work, json_of):
    confusions = []
    for path, size in ((RUN, 50), (RUN / "model.onnx", 7), (RUN / "model.safetensors", 50)):
        document = json_of("evaluate", path, *flags, "--device", "cpu", "-b", size)
        assert document["num_images"] == np.sum(document["confusion"]) == 60
        assert document["corruption"] == (flags[1] if flags else None)
        confusions.append(document["confusion"])
    assert confusions[0] == confusions[1] == confusions[2]
    if not flags:
        assert np.count_nonzero(np.sum(confusions[0], axis=0)) > 3, "it answers alike"


def test_validation_split_is_the_one_of_training(work, json_of):
    document = json_of("evaluate", "--split", "val")
    recorded = json.loads((RUN / "metrics.json").read_text())
    assert document["num_images"] == 20
    assert document["top1"] == pytest.approx(recorded["best_val_top1"], abs=0.01)


def test_onnx_runtime_reports_nothing(work, alexnet_process):
    # Its uploader, when it starts, first leaves an identifier in the folder for temporary files.
    (work / "tmp").mkdir()
    folders = {"TMPDIR": str(work / "tmp"), "HOME": str(work / "h")}
    result = alexnet_process("predict", "0.png", env=folders)
    assert result.returncode == 0, result.stderr
    assert list((work / "tmp").iterdir()) == []
    assert not (work / "h").exists()


def test_a_file_that_makes_its_views_is_measured_and_predicts(work, json_of, alexnet):
    (described,) = json_of("export", "--views", "10")
    assert described["path"] == str(RUN / "model-10views.onnx")
    assert described["deployment"]["num_views"] == 10
    card = (RUN / "README.md").read_text()
    assert "| 10 | 20 | convolution |" in card
    assert card.count("\n| `model") == 3  # the files of before are described as well
    file, run = (
        json_of("evaluate", *arguments, "--device", "cpu")
        for arguments in ((described["path"],), ("--views", "10"))
    )
    assert file["num_views"] == run["num_views"] == 10
    assert file["confusion"] == run["confusion"]
    refused = alexnet("evaluate", described["path"], "--views", "5")
    assert refused.returncode == 2
    assert "averages 10 views" in refused.stderr
    assert alexnet("predict", "0.png", "--model", described["path"]).returncode == 0


def test_eight_bits_go_the_whole_path(work, succeed, json_of):
    exported = succeed(
        "export", "--precision", "int8", "--format", "all", "--calibration-images", "40"
    )
    assert exported.stdout.split() == [str(RUN / "model.safetensors"), str(RUN / "model-int8.onnx")]
    card = (RUN / "README.md").read_text()
    assert "ranges from 40 training images" in card
    assert "test set was not used" in card
    for number in range(3, 12):
        Path(f"{number}.png").write_bytes(Path(f"{number % 3}.png").read_bytes())
    found = []
    for count in (1, 12):  # more than eight are run another way
        names = [f"{number}.png" for number in range(count)]
        lines = succeed("predict", *names, "--precision", "int8", "--json").stdout.splitlines()
        found += [json.loads(line)["top"][0] for line in lines[::3]]
    (prediction,) = Classifier(RUN / "model-int8.onnx", device="cpu")(["0.png"])
    assert prediction.best is not None
    assert len(found) == 5
    for answer in found:
        assert answer["class"] == prediction.best.name
        assert answer["probability"] == pytest.approx(prediction.best.probability, abs=1e-6)
    assert "model.onnx, fp32" in succeed("predict", "0.png").stderr
    assert "model-int8.onnx" in json_of("runs")[0]["exports"]
    suggested = exported.stderr.partition("next:\n")[2].splitlines()
    predict, evaluate, train = [shlex.split(line)[1:] for line in suggested]
    assert predict == ["predict", "YOUR_PHOTO.jpg", "--precision", "int8"]
    assert evaluate == ["evaluate", str(RUN), str(RUN / "model-int8.onnx")]
    assert train[:3] == ["train", "--from", str(RUN / "model.safetensors")]
    compared = json_of(*evaluate, "--device", "cpu")["models"]
    chosen = json_of("evaluate", "--precision", "int8", "--device", "cpu")
    assert compared[1]["loss"] == chosen["loss"]


def test_a_graph_answers_as_the_others_until_force_replaces_the_weights_beside_it(
    work, succeed, alexnet
):
    shared = Path("shared/model-shared.onnx")
    succeed("export", "--format", "onnx", "--shared-weights", "--output", "shared")
    assert shared.stat().st_size < 100_000
    models = (RUN, RUN / "model.onnx", RUN / "model.safetensors", shared)
    answers = {succeed("predict", "0.png", "--json", "--model", model).stdout for model in models}
    assert len(answers) == 1
    before = shared.with_name("model.safetensors").read_bytes()
    other = RUN / "checkpoints" / "step-8"
    refused = alexnet("export", other, "--format", "safetensors", "--output", "shared")
    assert refused.returncode == 2
    assert shared.with_name("model.safetensors").read_bytes() == before
    assert alexnet("predict", "0.png", "--model", shared).returncode == 0
    hint = refused.stderr.partition("hint: replace it with: ")[2].partition(";")[0]
    succeed(*shlex.split(hint)[1:])
    result = alexnet("predict", "0.png", "--model", shared)
    assert result.returncode == 1
    assert "from another export" in result.stderr


def test_a_run_of_a_recipe_repeats_from_its_own_config(small, succeed):
    settings = ("--recipe", "fast", "--no-lrn", "--activation", "tanh", "--early-crop-size", "8",
                "--ema-decay", "0.9", "--seed", "7", "--save-steps", "5", "--kernels", "half",
                "--epochs", "2")  # fmt: skip
    first, again = Path("runs/first"), Path("runs/again")
    succeed("train", *small, *settings, "--name", "first")
    succeed("train", "--config", first / "config.toml", "--save-steps", "5", "--name", "again")
    kept = [
        {path.relative_to(run): path.read_bytes() for path in run.rglob("*.safetensors")}
        for run in (first, again)
    ]
    assert len(kept[0]) >= 4
    assert kept[0] == kept[1]
    assert (first / "config.toml").read_bytes() == (again / "config.toml").read_bytes()


@pytest.mark.alone
@pytest.mark.slow
def test_demo_learns_the_shapes_and_predicts(succeed):
    printed = succeed("demo").stdout
    assert float(re.search(r"top-1 ([0-9.]+)%", printed)[1]) >= 90
    assert len(list(Path("runs/demo/images").iterdir())) == 10
    rows = re.findall(r"% +(\w+) +\S*\b\d+-(\w+)\.png$", printed, re.MULTILINE)
    assert len(rows) == 10
    assert sum(answer == truth for answer, truth in rows) >= 7
