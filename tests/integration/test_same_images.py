"""Images are known by their content: moved, renamed, added, replaced, and in two splits at once."""

import csv
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet_cli.data.run_images import read_record
from alexnet_cli.run_folder import RunFolder
from alexnet_cli.training.checkpoint import MODEL_FILE, newest_checkpoint
from tests.integration.conftest import RUN

PHOTOS = Path("photos")
SPLIT_VAL = ("evaluate", RUN, "--split", "val", "--data")


@pytest.fixture
def photos(work, tinted):
    """A copy of the images that `RUN` was trained on, in the working folder."""
    return Path(shutil.copytree(tinted, PHOTOS))


def hashes_of(paths):
    from alexnet_cli.data.content import hash_files

    return hash_files(Path(), np.array(list(map(str, paths)), object))


def files_of(folder, *, trained):
    """Return the training files that `RUN` was trained on, or those that it held out."""
    paths = sorted(folder.rglob("*.png"))
    was_trained = np.isin(hashes_of(paths), read_record(RunFolder(RUN)).trained_on)
    return [path for path, was in zip(paths, was_trained, strict=True) if was == trained]


def add_images(folder, count, *, seed=9):
    draw = np.random.default_rng(seed)
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    for number in range(count):
        pixels = draw.integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(classes[number % len(classes)] / f"0-new{number}.png")


def error_of(result):
    """Return the error that a command printed as JSON, after its notes."""
    assert result.returncode
    return json.loads(result.stderr.splitlines()[-1])["error"]


def answers(path):
    return [row["file"] for row in csv.DictReader(path.read_text().splitlines())]


def test_a_copy_that_has_grown_is_validated_on_what_was_held_out(photos, json_of):
    before = json_of(*SPLIT_VAL[:-1])
    add_images(photos / "train", 30)
    result = json_of(*SPLIT_VAL, PHOTOS, "--predictions", "val.csv")
    assert (result["num_images"], result["num_trained_on"], result["num_left_out"]) == (20, 0, 0)
    measured = hashes_of(answers(Path("val.csv")))
    assert not set(measured) & set(read_record(RunFolder(RUN)).trained_on)
    assert result["top1"] == before["top1"]


def test_replaced_pixels_are_noticed(photos, json_of, alexnet):
    """Names and sizes of the list stay: two held-out files become copies of training images."""
    held_out = files_of(photos / "train", trained=False)
    trained = files_of(photos / "train", trained=True)
    for target, source in zip(held_out[:2], trained, strict=False):
        shutil.copy(source, target)
    result = json_of(*SPLIT_VAL, PHOTOS, "--predictions", "val.csv")
    assert result["num_images"] == 18
    assert set(map(Path, answers(Path("val.csv")))) == {path.absolute() for path in held_out[2:]}
    for target, source in zip(held_out, trained, strict=False):
        shutil.copy(source, target)
    refused = alexnet(*SPLIT_VAL, PHOTOS, "--json")
    assert refused.returncode
    assert error_of(refused)["code"] == "images_differ"


@pytest.mark.parametrize("has_record", [True, False])
def test_a_labelled_folder_leaves_out_what_training_has_seen(photos, json_of, alexnet, has_record):
    (photos / "train").rename("more")
    add_images(Path("more"), 10)
    if not has_record:  # a run of an earlier version: its split is drawn again
        (RUN / "images.npz").unlink()
    result = json_of("evaluate", RUN, "--data", "more")
    assert result["num_images"] == 10
    assert (result["num_trained_on"], result["num_left_out"]) == (80, 100)
    for path in Path("more").rglob("0-new*"):
        path.unlink()
    refused = alexnet("evaluate", RUN, "--data", "more", "--json")
    assert refused.returncode == 2
    assert error_of(refused)["code"] == "trained_on"


def test_an_exported_file_has_the_record_of_its_run_while_it_lies_there(photos, json_of):
    add_images(photos / "test", 10)
    shutil.copy(files_of(photos / "train", trained=True)[0], photos / "test" / "circle" / "x.png")
    beside, elsewhere = RUN / "model.onnx", shutil.copy(RUN / "model.onnx", "elsewhere.onnx")
    for model in (beside, elsewhere):  # for the other, the split of the training is drawn again
        result = json_of("evaluate", model, "--data", PHOTOS)
        assert (result["num_images"], result["num_trained_on"]) == (70, 1)


def test_a_file_outside_of_its_run_does_not_know_where_the_images_are(photos, alexnet, succeed):
    path = shutil.copy(RUN / "model.safetensors", "elsewhere.safetensors")
    for command in (("evaluate", path, "--split", "val"), ("export", path, "--output", "out")):
        error = error_of(alexnet(*command, "--json"))
        assert error["code"] == "images_gone"
        assert shlex.join(command[:2]) in error["hint"]
        succeed(*command, "--data", PHOTOS)


def test_moved_and_renamed_images_are_resumed_in_the_same_bytes(photos, small, succeed, alexnet):
    train = ("train", *small, "--no-plots")
    succeed(*train, "--epochs", "2", "--name", "whole")
    shutil.copytree(photos, "first")
    succeed(*train, "--data", "first", "--epochs", "1", "--name", "moved")
    for index, path in enumerate(sorted(Path("first/train").rglob("*.png"), reverse=True)):
        path.rename(path.with_name(f"renamed-{index:03}.png"))
    Path("first").rename("second")
    gone = alexnet("train", "--resume", "runs/moved", "--epochs", "2", "--json")
    assert gone.returncode
    error = error_of(gone)
    assert error["code"] == "images_gone"
    assert "--data" in error["hint"]
    succeed("train", "--resume", "runs/moved", "--data", "second", "--epochs", "2")
    ends = [
        newest_checkpoint(RunFolder(Path("runs", name)).checkpoints) for name in ("whole", "moved")
    ]
    whole, moved = ((end.folder / MODEL_FILE).read_bytes() for end in ends)
    assert whole == moved
    assert RunFolder(Path("runs/moved")).read_settings()["data"] == str(Path("second").absolute())
    assert not Path("first").exists()
    assert succeed("evaluate", "runs/moved", "--split", "val").stdout


def test_a_moved_folder_can_be_named_for_the_report(photos, small, json_of, alexnet):
    json_of("train", *small, "--data", PHOTOS, "--epochs", "1", "--name", "moved")
    photos.rename("second")
    gone = alexnet("report", "runs/moved", "--json")
    assert error_of(gone)["code"] == "images_gone"
    add_images(Path("second/train"), 3)
    report = json_of("report", "runs/moved", "--data", "second")
    assert Path(report["path"]).is_file()


def test_changed_images_are_not_resumed_and_drift_keeps_both_sides(photos, small, json_of, alexnet):
    json_of("train", *small, "--data", PHOTOS, "--epochs", "1", "--name", "first")
    run = RunFolder(Path("runs/first"))
    before = read_record(run)
    add_images(photos / "train", 30)
    resume = ("train", "--resume", run.path, "--epochs", "2", "--json")
    refused = alexnet(*resume)
    assert refused.returncode == 2
    assert error_of(refused)["code"] == "images_differ"
    json_of(*resume[:-1], "--allow-drift")
    after = read_record(run)
    assert after.trained_N.sum() == before.trained_N.sum() + 30
    held_out = [set(record.hashes_N[~record.trained_N]) for record in (before, after)]
    assert held_out[0] == held_out[1]
    assert json_of("evaluate", run.path, "--split", "val")["num_images"] == 20
    path = files_of(photos / "train", trained=True)[0]
    pixels = np.asarray(Image.open(path))
    Image.fromarray(255 - pixels).save(path)
    refused = alexnet(*resume[:3], "--epochs", "3", "--json")
    assert error_of(refused)["code"] == "images_differ"


def test_weights_are_not_validated_on_what_they_were_trained_on(photos, small, alexnet, succeed):
    """Another seed would hold out training images of the weights."""
    new = ("train", *small, "--data", PHOTOS, "--epochs", "1", "--from", RUN, "--no-plots")
    succeed(*new, "--name", "same")
    other = succeed(*new, "--seed", "5", "--name", "other")
    assert "training images" in other.stderr
    parent = read_record(RunFolder(RUN)).trained_on
    for name, expected in (("same", True), ("other", False)):
        record = read_record(RunFolder(Path("runs", name)))
        held_out = record.hashes_N[~record.trained_N]
        assert not np.isin(held_out, parent).any()
        assert (len(held_out) == 20) == expected
        assert np.isin(parent, record.trained_on).all()
    succeed("train", "--resume", "runs/other", "--epochs", "2")


def test_identical_images_are_counted_in_training_evaluation_and_verification(
    photos, small, json_of, succeed
):
    held_out = files_of(photos / "train", trained=False)
    trained = files_of(photos / "train", trained=True)
    same = next(path for path in trained if path.parent == held_out[0].parent)
    shutil.copy(same, held_out[0])
    other = next(path for path in trained if path != same)
    shutil.copy(other, photos / "test" / other.parent.name / "x.png")
    shutil.copy(held_out[1], photos / "test" / held_out[1].parent.name / "y.png")
    expected = {"repeated_in_train": 0, "val_in_train": 1, "test_in_train": 1, "test_in_val": 1}
    train = ("train", *small, "--data", PHOTOS, "--epochs", "1", "--name", "twice")
    assert json_of(*train, "--dry-run")["plan"]["identical_images"] == expected
    trained_run = succeed(*train, "--json")
    assert json.loads(trained_run.stdout)["identical_images"] == expected
    assert "byte-identical" in trained_run.stderr
    in_val = json_of("evaluate", "runs/twice", "--split", "val")
    assert (in_val["num_images"], in_val["num_trained_on"]) == (19, 1)
    in_test = json_of("evaluate", "runs/twice")
    assert (in_test["num_images"], in_test["num_trained_on"]) == (60, 1)
    assert in_test["num_left_out"] == 2
    verified = json_of("data", "verify", "--data", PHOTOS)["identical_images"][str(PHOTOS)]
    assert verified == {
        **expected,
        "repeated_in_train": 1,
        "val_in_train": None,
        "test_in_val": None,
        "test_in_train": 2,
    }
    assert "photos: byte-identical: 2" in succeed("data", "verify", "--data", PHOTOS).stdout


def test_a_run_of_an_earlier_version_is_resumed_and_then_recorded(photos, small, json_of, succeed):
    json_of("train", *small, "--data", PHOTOS, "--epochs", "1", "--name", "old")
    record = Path("runs/old/images.npz")
    content = record.read_bytes()
    record.unlink()
    assert json_of("evaluate", "runs/old", "--split", "val")["num_images"] == 20
    resumed = succeed("train", "--resume", "runs/old", "--epochs", "2")
    assert "images.npz" in resumed.stderr
    assert record.read_bytes() == content
