import hashlib
import io
import re

import numpy as np
import pytest

from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.data.datasets import (
    CIFAR10_1_IMAGES,
    CIFAR10_1_LABELS,
    CIFAR10_ARCHIVE,
    DATASETS,
    Dataset,
    Split,
    find_dataset,
    load_split,
    load_training,
)
from alexnet_cli.errors import DataError, UsageError
from alexnet_cli.manifest import NAMED_DATA


def numbered(first, count):
    """Images that carry their number in two pixels, so that each can be told apart."""
    images = np.zeros((count, 4, 4, 3), np.uint8)
    numbers = np.arange(first, first + count)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = numbers // 256, numbers % 256
    return ImageArrays(images, numbers % 2)


def numbers_of(arrays):
    corner = arrays.images_NHWC[:, 0, 0].astype(int)
    return set((corner[:, 0] * 256 + corner[:, 1]).tolist())


TINY = Dataset("tiny", ("even", "odd"), 4, lambda: numbered(0, 300), lambda: numbered(300, 100))


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_is_found_by_its_name(name):
    dataset = find_dataset(name)
    assert dataset.name == name
    assert len(dataset.classes) == (100 if name == "cifar100" else 10)
    assert dataset.image_size_px == 32


def test_the_names_are_those_that_manifests_keep_as_they_are():
    assert tuple(DATASETS) == NAMED_DATA


def test_an_unknown_name_is_a_usage_error_that_lists_the_known():
    with pytest.raises(UsageError) as caught:
        find_dataset("imagenet")
    assert "'imagenet'" in caught.value.message
    assert caught.value.code == "unknown_dataset"
    assert all(name in caught.value.hint for name in DATASETS)


def test_training_never_sees_the_test_set_nor_the_validation_images():
    train, val = load_training(TINY, val_size=50, seed=0)
    assert len(train) == 250
    assert len(val) == 50
    assert numbers_of(train) | numbers_of(val) == set(range(300))
    assert not numbers_of(train) & numbers_of(val)
    for part in (train, val):  # labels went along
        np.testing.assert_array_equal(part.labels_N, part.images_NHWC[:, 0, 0, 1] % 2)


def test_the_test_split_is_the_official_one_whatever_the_run_held_out():
    test = load_split(TINY, Split.TEST, val_size=10**9, seed=3)
    assert numbers_of(test) == set(range(300, 400))


def test_the_validation_split_is_the_one_the_run_held_out():
    held_out = [numbers_of(load_split(TINY, Split.VAL, val_size=50, seed=seed)) for seed in (3, 4)]
    assert held_out[0] == numbers_of(load_training(TINY, val_size=50, seed=3)[1])
    assert held_out[0] != held_out[1]


def put_in_cache(file, content):
    file.path.parent.mkdir(parents=True, exist_ok=True)
    file.path.write_bytes(content)
    file.hash_path.write_text(hashlib.sha256(content).hexdigest())


def test_cifar10_is_read_from_the_cache_folder(synthetic_archive):
    with pytest.raises(DataError, match="is not in") as caught:
        find_dataset("cifar10").load_train()
    assert caught.value.hint == "fetch it with: alexnet download --data cifar10"

    put_in_cache(CIFAR10_ARCHIVE, synthetic_archive.read_bytes())
    dataset = find_dataset("cifar10")
    train, test = dataset.load_train(), dataset.load_test()
    assert (len(train), len(test)) == (50_000, 10_000)
    np.testing.assert_array_equal(test.labels_N, np.arange(10_000) % 10)


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_cifar10_1_can_be_measured_on_but_not_trained_on():
    dataset = find_dataset("cifar10.1")
    assert dataset.classes == find_dataset("cifar10").classes
    images, labels = np.zeros((2_000, 32, 32, 3), np.uint8), np.arange(2_000, dtype=np.int32) % 10
    put_in_cache(CIFAR10_1_IMAGES, npy(images))
    put_in_cache(CIFAR10_1_LABELS, npy(labels))
    test = load_split(dataset, Split.TEST, val_size=1, seed=0)
    np.testing.assert_array_equal(test.labels_N, labels)
    for load in (
        lambda: load_training(dataset, val_size=1, seed=0),
        lambda: load_split(dataset, Split.VAL, val_size=1, seed=0),
    ):
        with pytest.raises(UsageError, match="has test images only") as caught:
            load()
        assert "alexnet train --data cifar10," in caught.value.hint


def test_an_archive_is_checked_for_its_content(tmp_path, synthetic_archive):
    cifar10, cifar100 = find_dataset("cifar10"), find_dataset("cifar100")
    cifar10.check(synthetic_archive)
    with pytest.raises(DataError, match=re.escape(str(synthetic_archive))) as caught:
        cifar100.check(synthetic_archive)
    assert "--data cifar100 --force" in caught.value.hint


def test_published_files_have_an_address_a_size_and_hashes():
    files = [(dataset, file) for dataset in DATASETS.values() for file in dataset.files]
    assert len(files) == 4
    for dataset, file in files:
        assert file.dataset == dataset.name
        assert file.url.startswith("https://")
        assert file.url.endswith(f"/{file.name}")
        assert file.num_bytes > 0
        assert all(len(bytes.fromhex(sha256)) == 32 for sha256 in file.accepted_hashes)


def test_test_shapes_are_not_training_shapes():
    dataset = find_dataset("shapes")
    train, test = dataset.load_train(), dataset.load_test()
    assert (len(train), len(test)) == (10_000, 2_000)
    seen = {image.tobytes() for image in train.images_NHWC}
    assert not any(image.tobytes() in seen for image in test.images_NHWC)
    for part in (train, test):
        assert np.bincount(part.labels_N).tolist() == [len(part) // 10] * 10
