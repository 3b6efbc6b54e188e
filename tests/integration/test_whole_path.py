"""The five commands, one after the other, with the newest run found by itself."""

import csv
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from alexnet_cli.inference import Classifier
from tests.conftest import Run
from tests.made_runs import copy_run


@pytest.fixture
def work(trained_folder: Path, isolated: Path) -> Path:
    """A copy of the trained folder as the working folder."""
    return copy_run(trained_folder, isolated)


def test_run_folder_holds_what_it_promises(work: Path) -> None:
    run = work / "runs" / "alexnet-cifar-shapes"
    config = tomllib.loads((run / "config.toml").read_text())
    assert (config["epochs"], config["crop_size"], config["learning_rate"]) == (2, 8, 0.01)
    rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    result = json.loads((run / "metrics.json").read_text())
    assert result["best_val_top1"] == max(float(row["val_top1"]) for row in rows)
    assert json.loads((run / "environment.json").read_text())["versions"]["torch"]
    assert "test set was not used" in (run / "README.md").read_text()


def test_checkpoint_and_exports_agree_to_the_sample(work: Path, alexnet: Run) -> None:
    run = Path("runs/alexnet-cifar-shapes")
    confusions = []
    for arguments in ((), (run / "model.onnx",), (run / "model.safetensors",)):
        result = alexnet("evaluate", *arguments, "--json", "--device", "cpu")
        assert result.returncode == 0, result.stderr
        document = json.loads(result.stdout)
        assert document["num_images"] == 60
        assert np.sum(document["confusion"]) == 60
        assert np.count_nonzero(np.sum(document["confusion"], axis=0)) > 3, "it answers alike"
        confusions.append(document["confusion"])
    assert confusions[0] == confusions[1] == confusions[2]


def test_validation_split_is_the_one_of_training(work: Path, alexnet: Run) -> None:
    result = alexnet("evaluate", "--split", "val", "--json")
    recorded = json.loads(Path("runs/alexnet-cifar-shapes/metrics.json").read_text())
    document = json.loads(result.stdout)
    assert document["num_images"] == 20
    assert document["top1"] == pytest.approx(recorded["best_val_top1"], abs=0.01)


def test_predict_works_where_importing_torch_fails(work: Path, alexnet_process: Run) -> None:
    blocker = work / "blocked"
    blocker.mkdir()
    (blocker / "torch.py").write_text("raise ImportError('torch must not be imported')")
    result = alexnet_process(
        "predict", "0.png", "1.png", "--json", "--top-k", "3", env={"PYTHONPATH": str(blocker)}
    )
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["file"] for line in lines] == ["0.png", "1.png"]
    assert all(len(line["top"]) == 3 for line in lines)


def test_onnx_runtime_reports_nothing(work: Path, alexnet_process: Run) -> None:
    # Its uploader, when it starts, first leaves an identifier in the folder for temporary files.
    (work / "tmp").mkdir()
    folders = {"TMPDIR": str(work / "tmp"), "HOME": str(work / "h")}
    result = alexnet_process("predict", "0.png", env=folders)
    assert result.returncode == 0, result.stderr
    assert list((work / "tmp").iterdir()) == []
    assert not (work / "h").exists()


def test_predict_formats_agree(work: Path, alexnet: Run) -> None:
    run = Path("runs/alexnet-cifar-shapes")
    shared = alexnet("export", "--format", "onnx", "--shared-weights", "--output", "shared")
    assert shared.returncode == 0, shared.stderr
    answers = {
        alexnet("predict", "0.png", "--json", "--model", model).stdout
        for model in (run, run / "model.onnx", run / "model.safetensors", "shared/model.onnx")
    }
    assert len(answers) == 1
    assert Path("shared/model.onnx").stat().st_size < 100_000


def test_a_file_that_makes_its_views_is_measured_and_predicts(work: Path, alexnet: Run) -> None:
    exported = alexnet("export", "--views", "10", "--output", "ten", "--json")
    assert exported.returncode == 0, exported.stderr
    (described,) = json.loads(exported.stdout)
    assert described["deployment"]["num_views"] == 10
    assert "| 10 | 20 | convolution |" in Path("ten/README.md").read_text()
    documents = []
    for arguments in (("ten/model.onnx",), ("--views", "10")):
        result = alexnet("evaluate", *arguments, "--json", "--device", "cpu")
        assert result.returncode == 0, result.stderr
        documents.append(json.loads(result.stdout))
    assert documents[0]["num_views"] == documents[1]["num_views"] == 10
    assert documents[0]["confusion"] == documents[1]["confusion"]
    refused = alexnet("evaluate", "ten/model.onnx", "--views", "5")
    assert refused.returncode == 2
    assert "averages 10 views" in refused.stderr
    assert alexnet("predict", "0.png", "--model", "ten/model.onnx").returncode == 0


def test_eight_bits_go_the_whole_path(work: Path, alexnet: Run) -> None:
    exported = alexnet("export", "--precision", "int8", "--calibration-images", "40")
    assert exported.returncode == 0, exported.stderr
    run = Path("runs/alexnet-cifar-shapes")
    assert "ranges from 40 training images" in (run / "README.md").read_text()
    assert "test set was not used" in (run / "README.md").read_text()
    images = [f"{number}.png" for number in range(12)]
    for number, image in enumerate(images[3:], 3):
        Path(image).write_bytes(Path(f"{number % 3}.png").read_bytes())
    answers = []
    for names in (images[:1], images):  # more than eight are run another way
        predicted = alexnet("predict", *names, "--json")
        assert predicted.returncode == 0, predicted.stderr
        answers.append([json.loads(line) for line in predicted.stdout.splitlines()])
    first = {answer["file"]: answer["top"][0] for answer in answers[1]}
    (prediction,) = Classifier(run / "model.onnx", device="cpu")(["0.png"])
    assert prediction.best is not None
    for found in (answers[0][0]["top"][0], first["0.png"], first["3.png"]):
        assert found["class"] == prediction.best.name
        assert found["probability"] == pytest.approx(prediction.best.probability, abs=1e-6)


def test_a_graph_beside_the_weights_of_another_export_is_refused(work: Path, alexnet: Run) -> None:
    shared = alexnet("export", "--format", "onnx", "--shared-weights", "--output", "shared")
    assert shared.returncode == 0, shared.stderr
    # The last but one checkpoint: other weights of the same network.
    first, _ = sorted(Path("runs/alexnet-cifar-shapes/checkpoints").iterdir(), key=len_then_name)
    other = alexnet("export", first, "--format", "safetensors", "--output", "shared")
    assert other.returncode == 0, other.stderr
    result = alexnet("predict", "0.png", "--model", "shared/model.onnx")
    assert result.returncode == 1
    assert "from another export" in result.stderr


def len_then_name(path: Path) -> tuple[int, str]:
    return len(path.name), path.name


def test_newest_run_on_a_dataset(work: Path, tinted: Path, alexnet: Run) -> None:
    assert alexnet("predict", "0.png", "--data", tinted).returncode == 0
    other = alexnet("predict", "0.png", "--data", "cifar10")
    assert other.returncode == 1
    assert "alexnet train" in other.stderr


def test_one_bad_image_does_not_stop_the_others(work: Path, alexnet: Run) -> None:
    Path("bad.png").write_bytes(b"\x89PNG\r\n\x1a\n but no more")
    result = alexnet("predict", "0.png", "bad.png", "2.png", "--json", "--quiet")
    assert result.returncode == 1
    assert [json.loads(line)["file"] for line in result.stdout.splitlines()] == ["0.png", "2.png"]
    errors = [json.loads(line)["error"] for line in result.stderr.splitlines() if "error" in line]
    assert [error["code"] for error in errors] == ["image_unreadable"]
    assert "bad.png" in errors[0]["message"]


def test_config_file_repeats_the_run_byte_for_byte(work: Path, alexnet: Run) -> None:
    first = Path("runs/alexnet-cifar-shapes")
    again = alexnet("train", "--config", first / "config.toml")
    assert again.returncode == 0, again.stderr
    second = Path(again.stdout.strip())
    assert second.name == "alexnet-cifar-shapes-2"
    (name,) = {path.name for path in (second / "checkpoints").iterdir()} & {"step-16"}
    weights = [run / "checkpoints" / name / "model.safetensors" for run in (first, second)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_run_of_a_recipe_repeats_from_its_own_config(
    small: tuple[str, ...], isolated: Path, alexnet: Run
) -> None:
    settings = ("--recipe", "fast", "--no-lrn", "--activation", "tanh", "--early-crop-size", "8")
    settings += ("--ema-decay", "0.9", "--seed", "7", "--save-steps", "5", "--kernels", "half")
    first = alexnet("train", *small, *settings, "--epochs", "2", "--name", "first")
    assert first.returncode == 0, first.stderr
    config = Path("runs/first/config.toml")
    again = alexnet("train", "--config", config, "--save-steps", "5", "--name", "again")
    assert again.returncode == 0, again.stderr
    runs = [Path("runs", name) for name in ("first", "again")]
    assert (
        runs[0].joinpath("config.toml").read_bytes() == runs[1].joinpath("config.toml").read_bytes()
    )
    kept = [sorted(path.relative_to(run) for path in run.rglob("*.safetensors")) for run in runs]
    assert kept[0] == kept[1]
    assert len(kept[0]) >= 4
    for name in kept[0]:
        assert (runs[0] / name).read_bytes() == (runs[1] / name).read_bytes(), name


def test_flag_beats_environment_beats_file_beats_default(alexnet: Run) -> None:
    lines = ("epochs = 3", "batch_size = 32", "momentum = 0.5", "model = 'alexnet-cifar-bn'")
    Path("c.toml").write_text("\n".join(lines))
    result = alexnet(
        "config", "--config", "c.toml", "--json", "--batch_size=64", "--learning_rate", "1e-5",
        env={"ALEXNET_EPOCHS": "5", "ALEXNET_BATCH_SIZE": "16"},
    )  # fmt: skip
    config = {name: each["value"] for name, each in json.loads(result.stdout).items()}
    assert config["batch_size"] == 64
    assert config["epochs"] == 5
    assert config["momentum"] == 0.5
    assert config["model"] == "alexnet-cifar-bn"
    assert config["learning_rate"] == 1e-5
    assert config["weight_decay"] == 5e-4


def test_archive_of_the_user_goes_through_download(synthetic_archive: Path, alexnet: Run) -> None:
    from alexnet_cli.files import sha256_of

    refused = alexnet("download", "--archive", synthetic_archive)
    assert refused.returncode == 1
    assert "not one of the official files" in refused.stderr
    taken = alexnet(
        "download", "--archive", synthetic_archive, "--sha256", sha256_of(synthetic_archive)
    )
    assert taken.returncode == 0, taken.stderr
    assert Path(taken.stdout.strip()).is_file()


@pytest.mark.slow
def test_alexnet_2012_trains_exports_and_predicts(work: Path, tinted: Path, alexnet: Run) -> None:
    trained = alexnet(
        "train", "--data", tinted, "--model", "alexnet", "--image-size", "67",
        "--crop-size", "67", "--val-size", "60", "--epochs", "1", "--name", "large",
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    exported = alexnet("export", "--parity-images", "20")
    assert exported.returncode == 0, exported.stderr
    assert exported.stdout.strip() == "runs/large/model.onnx"
    assert alexnet("predict", "0.png").returncode == 0


def test_a_batch_normalised_network_goes_the_whole_path(
    small: tuple[str, ...], isolated: Path, alexnet: Run
) -> None:
    train = ("train", "--model", "alexnet-cifar-bn", *small, "--early-crop-size", "0")
    for arguments in (
        (*train, "--recipe", "fast", "--epochs", "1"),
        ("export", "--format", "all", "--shared-weights"),
    ):
        result = alexnet(*arguments)
        assert result.returncode == 0, result.stderr
    run = Path("runs/alexnet-cifar-bn-shapes")
    confusions = []
    for model in ((), (run / "model.onnx",), (run / "model.safetensors",)):
        result = alexnet("evaluate", *model, "--json", "--device", "cpu")
        assert result.returncode == 0, result.stderr
        confusions.append(json.loads(result.stdout)["confusion"])
    assert confusions[0] == confusions[1] == confusions[2]


def test_a_flag_beats_the_recipe_and_the_recipe_the_default(alexnet: Run, isolated: Path) -> None:
    (isolated / "mine.toml").write_text('recipe = "fast"\nlabel_smoothing = 0.2\n')
    result = alexnet("config", "--config", "mine.toml", "--epochs", "7", "--json")
    shown = {name: each["value"] for name, each in json.loads(result.stdout).items()}
    assert (shown["epochs"], shown["label_smoothing"]) == (7, 0.2)  # flag, file
    assert (shown["schedule"], shown["momentum_kind"]) == ("linear", "nesterov")  # recipe
    assert (shown["batch_size"], shown["momentum"]) == (128, 0.9)  # default


def test_a_single_image_batch_of_a_batch_normalised_network_is_refused(
    isolated: Path, alexnet: Run
) -> None:
    result = alexnet("train", "--model", "alexnet-cifar-bn", "--data", "shapes", "-b", "1")
    assert result.returncode == 2
    assert "one image" in result.stderr
    assert not Path("runs").exists()
