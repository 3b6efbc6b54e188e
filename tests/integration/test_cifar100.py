"""CIFAR-100 and CIFAR-10.1 through the commands, and archives that mean harm."""

import io
import json
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet_cli.data.cifar import CIFAR10, CIFAR100
from alexnet_cli.data.datasets import CIFAR10_1_IMAGES, CIFAR10_1_LABELS
from alexnet_cli.files import sha256_of
from tests.conftest import Run, write_tar

# A small network on small crops: 50,000 images have to pass it.
_TRAIN = ("--model", "cuda-convnet-80sec", "--crop-size", "8", "--val-size", "49000",
          "--epochs", "1", "--quiet")  # fmt: skip


def _members() -> dict[str, bytes]:
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
def test_cifar_100_goes_the_whole_path(tmp_path: Path, isolated: Path, alexnet: Run) -> None:
    path = write_tar(tmp_path / "mine.tar.gz", _members())
    download = ("download", "--data", "cifar100", "--archive", path)
    refused = alexnet(*download)
    assert refused.returncode == 1
    assert "--data cifar100" in refused.stderr
    Image.new("RGB", (32, 32), (14, 14, 14)).save("img.png")
    documents = []
    for arguments in (
        (*download, "--sha256", sha256_of(path), "--json"),
        ("train", "--data", "cifar100", *_TRAIN, "--json"),
        ("evaluate", "--json"),
        ("export", "--format", "onnx", "--json"),
        ("evaluate", "runs/cuda-convnet-80sec-cifar100/model.onnx", "--json"),
        ("predict", "img.png", "--json", "--top-k", "100"),
    ):
        result = alexnet(*arguments)
        assert result.returncode == 0, result.stderr
        documents.append(json.loads(result.stdout))
    taken, _, measured, _, exported, predicted = documents
    assert taken["data"] == "cifar100"
    assert measured["num_images"] == 10_000
    assert np.sum(measured["confusion"], axis=1).tolist() == [100] * 100
    assert exported["confusion"] == measured["confusion"]
    assert [row["name"] for row in measured["classes"]] == list(CIFAR100.classes)
    assert {answer["class"] for answer in predicted["top"]} == set(CIFAR100.classes)


def test_cifar10_1_is_refused_for_training(isolated: Path, alexnet: Run) -> None:
    result = alexnet("train", "--data", "cifar10.1")
    assert result.returncode == 2
    assert "cifar10.1 has test images only" in result.stderr
    assert "alexnet evaluate --data cifar10.1" in result.stderr
    assert not Path("runs").exists()


@pytest.mark.slow
def test_a_model_of_cifar10_is_measured_on_cifar10_1(
    synthetic_archive: Path, isolated: Path, alexnet: Run
) -> None:
    labels = np.arange(2_000, dtype=np.int32) % 10
    images = np.zeros((2_000, 32, 32, 3), np.uint8) + labels[:, None, None, None].astype(np.uint8)
    taken = alexnet(
        "download", "--archive", synthetic_archive, "--sha256", sha256_of(synthetic_archive)
    )
    assert taken.returncode == 0, taken.stderr
    trained = alexnet("train", *_TRAIN)
    assert trained.returncode == 0, trained.stderr
    missing = alexnet("evaluate", "--data", "cifar10.1")
    assert missing.returncode == 1
    assert "alexnet download --data cifar10.1" in missing.stderr
    for file, array in ((CIFAR10_1_IMAGES, images), (CIFAR10_1_LABELS, labels)):
        np.save(file.path, array)
        file.hash_path.write_text(sha256_of(file.path))
    result = alexnet("evaluate", "--data", "cifar10.1", "--json")
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert (document["data"], document["num_images"]) == ("cifar10.1", 2_000)
    assert np.sum(document["confusion"], axis=1).tolist() == [200] * 10


class _Calls:
    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self._canary}",)


def _link(name: str, kind: bytes, target: str = "/etc/passwd") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def _declaring(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    return info


def _hostile(canary: Path) -> dict[str, list[tarfile.TarInfo | tuple[str, bytes]]]:
    first, *others = CIFAR10.binary
    rest = [(name, b"x") for name in others]
    called = pickle.dumps({b"data": _Calls(canary), b"labels": [0]}, protocol=2)
    return {
        "path traversal": [(f"../../../../../../{canary}", b"x"), (str(canary), b"x"),
                           (f"cifar-10-batches-bin/../../../../../..{canary}", b"x")],
        "symbolic link": [_link(first, tarfile.SYMTYPE), *rest],
        "hard link": [_link(first, tarfile.LNKTYPE), *rest],
        "device": [_link(first, tarfile.CHRTYPE), *rest],
        "pipe": [_link(first, tarfile.FIFOTYPE), *rest],
        "bomb": [_declaring(first, 1 << 40)],
        "pickle": [(name, called) for name in CIFAR10.python],
    }  # fmt: skip


@pytest.mark.parametrize("kind", _hostile(Path()))
def test_a_hostile_archive_does_nothing(
    kind: str, tmp_path: Path, isolated: Path, alexnet: Run
) -> None:
    canary = tmp_path / "canary"
    path = tmp_path / "hostile.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for member in _hostile(canary)[kind]:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    before = {each for each in tmp_path.rglob("*") if "cache" not in each.parts}
    result = alexnet("download", "--archive", path, "--sha256", sha256_of(path))
    assert result.returncode == 1
    assert result.stderr.count("\n") == 2, result.stderr
    assert "is not a CIFAR-10 archive" in result.stderr
    assert not canary.exists()
    assert {each for each in tmp_path.rglob("*") if "cache" not in each.parts} == before
    assert not list((tmp_path / "cache").rglob("*.tar.gz"))
