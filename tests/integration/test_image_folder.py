"""The five commands on a folder of images, and the same training streamed from it."""

import csv
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.data import shapes
from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.data.datasets import find_dataset, load_training
from alexnet_cli.data.folder import ImageFolder
from alexnet_cli.errors import DataError, Interrupted
from alexnet_cli.runs import RunFolder
from alexnet_cli.training.checkpoint import MODEL_FILE, newest_checkpoint
from alexnet_cli.training.loop import Trainer
from alexnet_cli.training.ranks import StopRequest
from alexnet_cli.training.reporting import Reporter
from alexnet_cli.training.run import prepare_run
from alexnet_cli.training.setup import RuntimeOptions, TrainingRun
from tests.conftest import Run

SIZES = ("--image-size", "16", "--crop-size", "14", "--val-size", "20", "--epochs", "1")


def draw(folder: Path) -> Path:
    """Save shapes of four classes as PNG and JPEG files of many sizes."""
    for split, count, seed in (("train", 200, 1), ("test", 50, 2)):
        images, labels = shapes.draw_shapes(count, seed=seed)
        for index in np.flatnonzero(labels < 4):
            home = folder / split / shapes.CLASSES[labels[index]]
            home.mkdir(parents=True, exist_ok=True)
            size = (20 + index % 40, 24 + index % 31)
            suffix = "png" if index % 3 else "jpg"
            Image.fromarray(images[index]).resize(size).save(home / f"{index:03}.{suffix}")
    return folder


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("drawn") / "photos")


@pytest.fixture
def photos(drawn: Path, isolated: Path) -> Path:
    """A copy in the working folder, with a hidden folder that is no class."""
    shutil.copytree(drawn, isolated / "photos")
    (isolated / "photos" / "train" / ".cache").mkdir()
    return isolated / "photos"


def test_the_five_commands(photos: Path, alexnet: Run) -> None:
    trained = alexnet("train", "--data", "photos", *SIZES, "-j", "2")
    assert trained.returncode == 0, trained.stderr
    run = Path(trained.stdout.strip())
    assert run.name == "alexnet-cifar-photos"
    (row,) = csv.DictReader((run / "metrics.csv").read_text().splitlines())
    assert 0 <= float(row["data_wait_share"]) < 1
    exported = alexnet("export", "--data", "photos")
    assert exported.returncode == 0, exported.stderr
    assert "on 20 validation images" in exported.stderr
    confusions = []
    for arguments in ((), (run / "model.onnx", "--data", "photos/../photos")):
        measured = alexnet("evaluate", *arguments, "--json")
        assert measured.returncode == 0, measured.stderr
        result = json.loads(measured.stdout)
        assert result["num_images"] == 20
        assert result["data"] == str(photos)
        assert [row["name"] for row in result["classes"]] == sorted(shapes.CLASSES[:4])
        confusions.append(result["confusion"])
    assert confusions[0] == confusions[1]
    image = min((photos / "test").rglob("*.jpg"))
    predicted = alexnet("predict", image, "--data", "photos", "--json")
    assert predicted.returncode == 0, predicted.stderr
    assert json.loads(predicted.stdout)["class"] in shapes.CLASSES[:4]


def test_without_flags_a_tenth_is_held_out_of_an_uneven_folder(photos: Path, alexnet: Run) -> None:
    shutil.rmtree(photos / "test")
    rare = min((photos / "train").iterdir(), key=lambda path: (path.name[0] == ".", path.name))
    for path in sorted(rare.iterdir())[2:]:
        path.unlink()
    num_images = len([path for path in (photos / "train").rglob("*.*") if path.is_file()])
    planned = alexnet("train", "--data", "photos", *SIZES[:4], "--dry-run", "--json")
    plan = json.loads(planned.stdout)["plan"]
    num_val = round(num_images / 10)
    assert plan["num_images"] == {"train": num_images - num_val, "val": num_val, "test": 0}
    assert plan["images_per_class"][rare.name] == {"train": 1, "val": 1, "test": 0}
    assert plan["run"] == "runs/alexnet-cifar-photos"
    assert not Path("runs").exists()
    shown = alexnet("train", "--data", "photos", *SIZES[:4], "--dry-run").stdout
    assert f"{num_val} validation, 0 test" in shown
    assert f"\n{rare.name} " in shown

    trained = alexnet("train", "--data", "photos", *SIZES[:4], "--epochs", "1")
    assert trained.returncode == 0, trained.stderr
    assert f", {num_val} held out;" in trained.stderr.splitlines()[0]
    run = Path(trained.stdout.strip())
    assert "\n  alexnet evaluate --split val\n" in trained.stderr  # there are no test images
    assert f"| validation images | {num_val}, held out" in (run / "README.md").read_text()
    assert alexnet("export").returncode == 0
    for model in (run, run / "model.onnx"):
        measured = alexnet("evaluate", model, "--split", "val", "--json")
        assert measured.returncode == 0, measured.stderr
        assert json.loads(measured.stdout)["num_images"] == num_val


def test_a_folder_that_is_not_there_or_damaged_is_refused_before_a_run(
    photos: Path, alexnet: Run
) -> None:
    missing = alexnet("train", "--data", "nowhere", *SIZES)
    assert missing.returncode == 2
    assert "no dataset or folder is called 'nowhere'" in missing.stderr
    (photos / "train" / "empty").mkdir()
    empty = alexnet("train", "--data", "photos", *SIZES)
    assert empty.returncode == 1
    assert "train/empty has no image" in empty.stderr
    assert not Path("runs").exists()


def test_a_folder_that_has_changed_gives_no_false_validation(photos: Path, alexnet: Run) -> None:
    trained = alexnet("train", "--data", "photos", *SIZES)
    assert trained.returncode == 0, trained.stderr
    before = alexnet("evaluate", "--split", "val", "--json")
    assert before.returncode == 0, before.stderr
    one = min((photos / "train").rglob("*.png"))
    shutil.copy(one, one.with_name("another.png"))
    for arguments in (("evaluate", "--split", "val"), ("train", "--resume", "--epochs", "2")):
        refused = alexnet(*arguments)
        assert refused.returncode == 2
        assert "held out" in refused.stderr
        assert "Traceback" not in refused.stderr
    one.with_name("another.png").unlink()
    assert alexnet("evaluate", "--split", "val", "--json").stdout == before.stdout


class Silent(Reporter):
    """Says nothing; asks the job to stop after two steps, if it is given its request."""

    def __init__(self, stop: StopRequest | None = None) -> None:
        self.stop = stop
        self.steps: list[tuple[int, int, int]] = []

    def on_step(self, epoch: int, images_done: int, images_total: int) -> None:
        self.steps.append((epoch, images_done, images_total))
        if self.stop is not None and len(self.steps) == 2:
            self.stop.signal_number = 15


@pytest.fixture
def make_job(photos: Path, tmp_path: Path) -> Callable[..., TrainingRun]:
    """Prepare a run in memory, as the command does, and swap the folder itself in if asked to."""
    config = TrainConfig(
        data="photos", image_size=16, crop_size=14, val_size=20, epochs=1, batch_size=20, seed=3
    )

    def make(name: str, *, is_streamed: bool = True) -> TrainingRun:
        job = prepare_run(config, RuntimeOptions("cpu", num_workers=2), name=name, parent=tmp_path)
        assert isinstance(job.train, ImageArrays)
        assert isinstance(job.val, ImageArrays)
        if not is_streamed:
            return job
        train, val = load_training(find_dataset("photos"), val_size=20, seed=3)
        return dataclasses.replace(job, train=train, val=val)

    return make


def weights(run: RunFolder) -> bytes:
    return (newest_checkpoint(run.checkpoints).folder / MODEL_FILE).read_bytes()


def test_a_streamed_run_ends_in_the_same_bytes_stopped_or_not(
    make_job: Callable[..., TrainingRun],
) -> None:
    kept, streamed, stopped = (
        make_job("kept", is_streamed=False),
        make_job("streamed"),
        make_job("stopped"),
    )
    (one,), (other,) = (Trainer(job, [Silent()]).train() for job in (kept, streamed))
    assert (one.train_loss, one.val_loss) == (other.train_loss, other.val_loss)
    with pytest.raises(Interrupted):
        Trainer(stopped, [Silent(stopped.stop)]).train()
    saved = newest_checkpoint(stopped.folder.checkpoints)
    assert 0 < saved.state.wait_seconds < saved.state.train_seconds
    trainer = Trainer(dataclasses.replace(stopped, stop=StopRequest()), [Silent()])
    trainer.resume(saved)
    (row,) = trainer.train()
    assert row.data_wait_share > 0
    assert weights(kept.folder) == weights(streamed.folder) == weights(stopped.folder)


def test_a_file_damaged_in_the_middle_of_training_is_named(
    make_job: Callable[..., TrainingRun],
) -> None:
    job = make_job("damaged")
    assert isinstance(job.train, ImageFolder)
    path = job.train.root / job.train.names_N[-1]
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match=path.name):
        Trainer(job, [Silent()]).train()
