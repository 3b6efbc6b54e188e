"""Every example runs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from alexnet_cli.data import shapes
from tests.conftest import Run

_EXAMPLES = Path(__file__).parents[2] / "examples"


def test_every_example_has_a_test() -> None:
    tested = {
        "train_and_export.py",
        "predict_with_onnxruntime.py",
        "predict_with_torch.py",
        "quick_shapes.toml",
        "fine_tune.py",
        "own_images.py",
    }
    assert {path.name for path in _EXAMPLES.iterdir() if path.is_file()} == tested
    folders = {path.name for path in _EXAMPLES.iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders == {"deploy", "web"}  # test_deploy.py and tests/browser


@pytest.mark.parametrize(
    "name", ["own_images", "fine_tune", "predict_with_onnxruntime", "predict_with_torch"]
)
def test_without_arguments_an_example_says_what_it_takes(name: str) -> None:
    result = subprocess.run(
        [sys.executable, _EXAMPLES / f"{name}.py"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert f"python {name}.py" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_train_and_export() -> None:
    result = subprocess.run(
        [sys.executable, _EXAMPLES / "train_and_export.py", "1"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "validation top-1" in result.stdout
    assert Path("runs/example/model.onnx").is_file()


@pytest.fixture
def photos(isolated: Path) -> Path:
    """Twenty drawn images of two classes."""
    images, labels = shapes.draw_shapes(100, seed=1)
    for number, label in enumerate(labels.tolist()):
        if label < 2:
            folder = isolated / "photos" / shapes.CLASSES[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[number]).save(folder / f"{number}.png")
    return isolated / "photos"


@pytest.mark.slow
def test_own_images(photos: Path) -> None:
    result = subprocess.run(
        [sys.executable, _EXAMPLES / "own_images.py", photos, "1"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "best validation top-1" in result.stdout
    assert Path("runs/own-images/metrics.csv").is_file()


@pytest.mark.slow
def test_fine_tune(photos: Path, trained_folder: Path) -> None:
    weights = trained_folder / "runs" / "alexnet-cifar-shapes" / "model.safetensors"
    result = subprocess.run(
        [sys.executable, _EXAMPLES / "fine_tune.py", photos, weights, "1"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "10 classes before, 2 now" in result.stdout
    assert Path("runs/fine-tuned/metrics.csv").is_file()


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("predict_with_onnxruntime", "model.onnx"),
        ("predict_with_torch", "model.safetensors"),
    ],
)
def test_plain_libraries_answer_as_predict_does(
    name: str, file: str, trained_folder: Path, alexnet: Run
) -> None:
    model = trained_folder / "runs" / "alexnet-cifar-shapes" / file
    image = trained_folder / "0.png"
    plain = subprocess.run(
        [sys.executable, _EXAMPLES / f"{name}.py", model, image],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    ours = json.loads(alexnet("predict", image, "--model", model, "--json").stdout)
    theirs = json.loads(plain.stdout)
    assert theirs["class"] == ours["class"]
    assert theirs["probability"] == pytest.approx(ours["probability"], abs=1e-6)


def test_config_example_is_accepted(alexnet: Run) -> None:
    result = alexnet("train", "--config", _EXAMPLES / "quick_shapes.toml", "--dry-run")
    assert json.loads(result.stdout)["crop_size"] == 8


def test_the_python_lines_of_the_readme_run(trained_folder: Path) -> None:
    readme = (_EXAMPLES.parent / "README.md").read_text()
    (snippet,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    snippet = snippet.replace("alexnet-cifar-cifar10", "alexnet-cifar-shapes")
    snippet = snippet.replace("img.png", "0.png")
    result = subprocess.run(
        [sys.executable, "-c", snippet],
        cwd=trained_folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert re.match(r"\w+ExecutionProvider\n0\.png \w+ 0\.\d+\n", result.stdout)


def test_ci_runs_the_test_command_of_the_readme() -> None:
    readme = (_EXAMPLES.parent / "README.md").read_text()
    commands = re.findall(r"```sh\n(python3 -m venv .*?)\n```", readme)
    assert len(commands) == 2
    assert commands[1] in (_EXAMPLES.parent / ".ci" / "run").read_text()
