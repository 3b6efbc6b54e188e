"""CIFAR-10, CIFAR-100 and CIFAR-10.1 through the commands, and an archive that means harm."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet_cli.data.cifar import CIFAR10, CIFAR100, read_archive
from alexnet_cli.data.datasets import CIFAR10_1_IMAGES, CIFAR10_1_LABELS
from alexnet_cli.files import sha256_of
from tests.conftest import REAL_ARCHIVE_SHA256, write_tar
from tests.unit.data.test_cifar import Calls

# A small network on small crops: 50,000 images have to pass it.
_TRAIN = ("--model", "cuda-convnet-80sec", "--crop-size", "8", "--val-size", "49000",
          "--epochs", "1", "--quiet")  # fmt: skip


def _members():
    """Return the files of the binary archive: as many records as the real one, one colour each."""
    members = {}
    for name in CIFAR100.binary:
        records = np.empty((CIFAR100.num_images(name), CIFAR100.record_bytes), np.uint8)
        labels = np.arange(len(records)) % 100
        records[:, 0], records[:, 1] = labels // 5, labels
        records[:, 2:] = (labels * 2)[:, None]
        members[name] = records.tobytes()
    return members


@pytest.mark.slow
def test_cifar_100_goes_the_whole_path(tmp_path, succeed, json_of, alexnet):
    path = write_tar(tmp_path / "mine.tar.gz", _members())
    download = ("download", "--data", "cifar100", "--archive", path)
    refused = alexnet(*download)
    assert refused.returncode == 1
    assert "--data cifar100" in refused.stderr
    assert json_of(*download, "--sha256", sha256_of(path))["data"] == "cifar100"
    succeed("train", "--data", "cifar100", *_TRAIN)
    measured = json_of("evaluate")
    assert measured["num_images"] == 10_000
    assert np.sum(measured["confusion"], axis=1).tolist() == [100] * 100
    assert [row["name"] for row in measured["classes"]] == list(CIFAR100.classes)
    succeed("export", "--format", "onnx")
    exported = json_of("evaluate", "runs/cuda-convnet-80sec-cifar100/model.onnx")
    assert exported["confusion"] == measured["confusion"]
    Image.new("RGB", (32, 32), (14, 14, 14)).save("img.png")
    predicted = json_of("predict", "img.png", "--top-k", "100")
    assert {answer["class"] for answer in predicted["top"]} == set(CIFAR100.classes)


@pytest.mark.slow
def test_a_model_of_cifar10_is_measured_on_cifar10_1(synthetic_archive, succeed, json_of, alexnet):
    labels = np.arange(2_000, dtype=np.int32) % 10
    images = np.zeros((2_000, 32, 32, 3), np.uint8) + labels[:, None, None, None].astype(np.uint8)
    own = ("--archive", synthetic_archive, "--sha256", sha256_of(synthetic_archive))
    succeed("download", *own)
    succeed("train", *_TRAIN)
    missing = alexnet("evaluate", "--data", "cifar10.1")
    assert missing.returncode == 1
    assert "alexnet download --data cifar10.1" in missing.stderr
    for file, array in ((CIFAR10_1_IMAGES, images), (CIFAR10_1_LABELS, labels)):
        np.save(file.path, array)
        file.hash_path.write_text(sha256_of(file.path))
    document = json_of("evaluate", "--data", "cifar10.1")
    assert (document["data"], document["num_images"]) == ("cifar10.1", 2_000)
    assert np.sum(document["confusion"], axis=1).tolist() == [200] * 10


def test_a_hostile_archive_is_refused_and_leaves_nothing(tmp_path, alexnet):
    canary = tmp_path / "canary"
    batch = pickle.dumps({b"data": Calls(os.system, f"touch {canary}"), b"labels": [0]}, protocol=2)
    path = write_tar(tmp_path / "hostile.tar.gz", dict.fromkeys(CIFAR10.python, batch))
    result = alexnet("download", "--archive", path, "--sha256", sha256_of(path))
    assert result.returncode == 1
    assert result.stderr.count("\n") == 2, result.stderr
    assert "is not a CIFAR-10 archive" in result.stderr
    assert not canary.exists()
    assert not list((tmp_path / "cache").rglob("*.tar.gz"))


@pytest.mark.cifar10
@pytest.mark.slow
def test_real_images_have_the_published_statistics(real_archive):
    train, test = read_archive(real_archive)
    assert np.bincount(train.labels_N).tolist() == [5_000] * len(CIFAR10.classes)
    assert np.bincount(test.labels_N).tolist() == [1_000] * len(CIFAR10.classes)
    found = train.colour_statistics()
    np.testing.assert_allclose(found.mean_C / 255, [0.4914, 0.4822, 0.4465], atol=5e-5)
    np.testing.assert_allclose(found.std_C / 255, [0.2470, 0.2435, 0.2616], atol=5e-5)


@pytest.mark.cifar10
@pytest.mark.slow
def test_download_takes_the_real_archive_and_train_finds_it(real_archive, succeed, alexnet):
    taken = succeed("download", "--archive", real_archive, "--sha256", REAL_ARCHIVE_SHA256)
    sizes = ("--image-size", "8", "--crop-size", "8", "--val-size", "49000")
    assert "1,000 images of cifar10" in succeed("train", *sizes, "--epochs", "1").stderr
    kept = Path(taken.stdout.strip())
    content = bytearray(kept.read_bytes())
    content[1_000_000] ^= 1
    kept.write_bytes(content)
    (kept.parent / "cifar10-train.npy").write_bytes(b"")  # whole, it would do without the archive
    damaged = alexnet("train", "--epochs", "1")
    assert damaged.returncode == 1
    assert "alexnet download --data cifar10 --force" in damaged.stderr
