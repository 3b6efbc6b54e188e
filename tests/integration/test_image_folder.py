"""The five commands on a folder of images, and the same training streamed from it."""

import csv
import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.data import shapes
from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.data.datasets import find_dataset, load_training
from alexnet_cli.errors import Interrupted
from alexnet_cli.training.checkpoint import MODEL_FILE, newest_checkpoint
from alexnet_cli.training.loop import Trainer
from alexnet_cli.training.ranks import StopRequest
from alexnet_cli.training.reporting import Reporter
from alexnet_cli.training.run import prepare_run

SIZES = ("--image-size", "16", "--crop-size", "14", "--val-size", "20", "--epochs", "1")


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """Shapes of four classes as PNG and JPEG files of many sizes."""
    folder = tmp_path_factory.mktemp("drawn")
    for split, count, seed in (("train", 200, 1), ("test", 50, 2)):
        images, labels = shapes.draw_shapes(count, seed=seed)
        for index in np.flatnonzero(labels < 4):
            home = folder / split / shapes.CLASSES[labels[index]]
            home.mkdir(parents=True, exist_ok=True)
            size = (20 + index % 40, 24 + index % 31)
            suffix = "png" if index % 3 else "jpg"
            Image.fromarray(images[index]).resize(size).save(home / f"{index:03}.{suffix}")
    return folder


@pytest.fixture
def photos(drawn, isolated):
    """A copy in the working folder, with a hidden folder that is not a class."""
    shutil.copytree(drawn, isolated / "photos")
    (isolated / "photos" / "train" / ".cache").mkdir()
    return isolated / "photos"


def test_the_five_commands(photos, succeed, json_of):
    run = Path(succeed("train", "--data", "photos", *SIZES, "-j", "2").stdout.strip())
    assert run.name == "alexnet-cifar-photos"
    (row,) = csv.DictReader((run / "metrics.csv").read_text().splitlines())
    assert 0 <= float(row["data_wait_share"]) < 1
    assert "on 20 validation images" in succeed("export", "--data", "photos").stderr
    confusions = []
    for arguments in ((), (run / "model.onnx", "--data", "photos/../photos")):
        result = json_of("evaluate", *arguments)
        assert result["num_images"] == 20
        assert result["data"] == str(photos)
        assert [row["name"] for row in result["classes"]] == sorted(shapes.CLASSES[:4])
        confusions.append(result["confusion"])
    assert confusions[0] == confusions[1]
    image = min((photos / "test").rglob("*.jpg"))
    assert json_of("predict", image, "--data", "photos")["class"] in shapes.CLASSES[:4]


def test_without_flags_a_tenth_is_held_out_of_an_uneven_folder(photos, succeed, json_of):
    shutil.rmtree(photos / "test")
    rare = min((photos / "train").iterdir(), key=lambda path: (path.name[0] == ".", path.name))
    for path in sorted(rare.iterdir())[2:]:
        path.unlink()
    num_images = len([path for path in (photos / "train").rglob("*.*") if path.is_file()])
    train = ("train", "--data", "photos", *SIZES[:4])
    plan = json_of(*train, "--dry-run")["plan"]
    num_val = round(num_images / 10)
    assert plan["num_images"] == {"train": num_images - num_val, "val": num_val, "test": 0}
    assert plan["images_per_class"][rare.name] == {"train": 1, "val": 1, "test": 0}
    assert plan["run"] == "runs/alexnet-cifar-photos"
    assert 0 < plan["seconds_per_epoch"] < 60
    assert not Path("runs").exists()
    shown = succeed(*train, "--dry-run").stdout
    assert f"{num_val} validation, 0 test" in shown
    assert f"\n{rare.name} " in shown

    trained = succeed(*train, "--epochs", "1")
    assert f", {num_val} held out;" in trained.stderr.splitlines()[0]
    run = Path(trained.stdout.strip())
    assert "\n  alexnet evaluate --split val\n" in trained.stderr  # there are no test images
    assert f"| validation images | {num_val}, held out" in (run / "README.md").read_text()
    assert json_of("evaluate", run, "--split", "val")["num_images"] == num_val


def test_a_folder_that_has_changed_gives_no_false_validation(photos, succeed, json_of, alexnet):
    succeed("train", "--data", "photos", *SIZES)
    before = json_of("evaluate", "--split", "val")
    one = min((photos / "train").rglob("*.png"))
    shutil.copy(one, one.with_name("another.png"))
    assert json_of("evaluate", "--split", "val")["num_images"] in (20, 21)  # by the copy's side
    refused = alexnet("train", "--resume", "--epochs", "2")
    assert refused.returncode == 2
    assert "1 were added, 0 are gone" in refused.stderr
    one.with_name("another.png").unlink()
    assert json_of("evaluate", "--split", "val") == before


class StopAfterTwoSteps(Reporter):
    def __init__(self, stop):
        self.stop = stop

    def on_step(self, epoch, images_done, images_total):
        if epoch == 1 and images_done == 40 < images_total:
            self.stop.signal_number = 15


def weights(run):
    return (newest_checkpoint(run.checkpoints).folder / MODEL_FILE).read_bytes()


def test_a_streamed_run_ends_in_the_same_bytes_stopped_or_not(photos, tmp_path):
    config = TrainConfig(
        data="photos", image_size=16, crop_size=14, val_size=20, epochs=1, batch_size=20, seed=3
    )
    kept, streamed, stopped = (
        prepare_run(config, torch.device("cpu"), name=name, parent=tmp_path, num_workers=2)
        for name in ("kept", "streamed", "stopped")
    )
    assert isinstance(kept.train, ImageArrays)
    train, val = load_training(find_dataset("photos"), val_size=20, seed=3)
    streamed, stopped = (
        dataclasses.replace(each, train=train, val=val) for each in (streamed, stopped)
    )
    (one,), (other,) = (Trainer(job).train() for job in (kept, streamed))
    assert (one.train_loss, one.val_loss) == (other.train_loss, other.val_loss)
    with pytest.raises(Interrupted):
        Trainer(stopped, [StopAfterTwoSteps(stopped.stop)]).train()
    saved = newest_checkpoint(stopped.folder.checkpoints)
    assert 0 < saved.state.wait_seconds < saved.state.train_seconds
    trainer = Trainer(dataclasses.replace(stopped, stop=StopRequest()))
    trainer.resume(saved)
    (row,) = trainer.train()
    assert row.data_wait_share > 0
    assert weights(kept.folder) == weights(streamed.folder) == weights(stopped.folder)
