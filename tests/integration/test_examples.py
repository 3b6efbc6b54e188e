"""Every example runs."""

import csv
import re
import runpy
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import RUN
from tests.made_runs import make_images

_EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(capfd, monkeypatch):
    """Run an example in this process; return its status, output and errors."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capfd.readouterr()
        status = 0
        try:
            runpy.run_path(str(_EXAMPLES / f"{name}.py"), run_name="__main__")
        except SystemExit as error:
            status = int(error.code or 0)
        return status, *capfd.readouterr()

    return run


def test_every_example_has_a_test():
    tested = {
        "train_and_export.py",
        "predict_with_onnxruntime.py",
        "predict_with_torch.py",
        "quick_shapes.toml",
        "fine_tune.py",
        "own_images.py",
        "train_loop.py",
    }
    assert {path.name for path in _EXAMPLES.iterdir() if path.is_file()} == tested
    folders = {path.name for path in _EXAMPLES.iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders == {"deploy", "web"}  # test_deploy.py and tests/browser


@pytest.mark.parametrize(
    "name", ["own_images", "fine_tune", "predict_with_onnxruntime", "predict_with_torch"]
)
def test_without_arguments_an_example_says_what_it_takes(name, example):
    status, _, stderr = example(name)
    assert status == 2
    assert f"python {name}.py" in stderr


@pytest.mark.slow
def test_train_and_export(example):
    _, stdout, _ = example("train_and_export", "1")
    assert "val acc" in stdout
    assert Path("runs/example/model.onnx").is_file()


def test_the_loop_on_one_page_reaches_what_train_reaches(tinted, isolated, example, succeed):
    config = isolated / "tiny.toml"
    config.write_text(
        f'data = "{tinted}"\nimage_size = 12\ncrop_size = 8\nepochs = 6\nval_size = 40\n'
        "batch_size = 60\nlearning_rate = 0.02\nseed = 1\n"  # a single batch an epoch
    )
    _, stdout, _ = example("train_loop", config)
    succeed("train", "--config", config, "--no-plots", "--name", "tiny")
    with Path("runs/tiny/metrics.csv").open() as file:
        expected = [
            f"epoch {row['epoch']}  lr {float(row['learning_rate']):.2g}  "
            f"loss {float(row['train_loss']):.3f}  val acc {float(row['val_top1']):.2%}"
            for row in csv.DictReader(file)
        ]
    assert stdout.splitlines() == expected
    assert len({line.rpartition("acc")[2] for line in expected}) > 1


@pytest.fixture
def photos(isolated):
    return make_images(isolated / "photos", ("bee", "wasp"), per_class=10, side=32)


def test_own_images(photos, example):
    _, stdout, _ = example("own_images", photos, "1")
    assert "best val acc" in stdout
    assert Path("runs/own-images/metrics.csv").is_file()


def test_fine_tune(photos, trained_folder, example):
    weights = trained_folder / RUN / "model.safetensors"
    _, stdout, _ = example("fine_tune", photos, weights, "1")
    assert "10 classes before, 2 now" in stdout
    assert Path("runs/fine-tuned/metrics.csv").is_file()


def test_config_example_is_accepted(json_of):
    config = ("--config", _EXAMPLES / "quick_shapes.toml")
    assert json_of("train", *config, "--dry-run")["crop_size"] == 8


def test_ci_runs_the_test_command_of_the_readme():
    readme = (_EXAMPLES.parent / "README.md").read_text()
    commands = re.findall(r"```sh\n(python3 -m venv .*?)\n```", readme)
    assert len(commands) == 2
    assert commands[1] in (_EXAMPLES.parent / ".ci" / "run").read_text()
