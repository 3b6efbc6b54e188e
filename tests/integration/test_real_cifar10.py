"""The real archive, where it is at hand."""

from pathlib import Path

import numpy as np
import pytest

from alexnet_cli.data.cifar import CIFAR10, read_archive
from tests.conftest import REAL_ARCHIVE_SHA256, Run

pytestmark = [pytest.mark.cifar10, pytest.mark.slow]


def test_real_images_have_the_published_statistics(real_archive: Path) -> None:
    train, test = read_archive(real_archive)
    assert np.bincount(train.labels_N).tolist() == [5_000] * len(CIFAR10.classes)
    assert np.bincount(test.labels_N).tolist() == [1_000] * len(CIFAR10.classes)
    found = train.colour_statistics()
    np.testing.assert_allclose(found.mean_C / 255, [0.4914, 0.4822, 0.4465], atol=5e-5)
    np.testing.assert_allclose(found.std_C / 255, [0.2470, 0.2435, 0.2616], atol=5e-5)


def test_download_takes_it_and_train_finds_it(real_archive: Path, alexnet: Run) -> None:
    taken = alexnet("download", "--archive", real_archive, "--sha256", REAL_ARCHIVE_SHA256)
    assert taken.returncode == 0, taken.stderr
    trained = alexnet(
        "train", "--image-size", "8", "--crop-size", "8", "--val-size", "49000", "--epochs", "1"
    )
    assert trained.returncode == 0, trained.stderr
    assert "1,000 images of cifar10" in trained.stderr
    kept = Path(taken.stdout.strip())
    content = bytearray(kept.read_bytes())
    content[1_000_000] ^= 1
    kept.write_bytes(content)
    (kept.parent / "cifar10-train.npy").write_bytes(b"")  # whole, it would do without the archive
    damaged = alexnet("train", "--epochs", "1")
    assert damaged.returncode == 1
    assert "alexnet download --data cifar10 --force" in damaged.stderr
