import hashlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.data.datasets import (
    CIFAR10_1_IMAGES,
    CIFAR10_1_LABELS,
    CIFAR10_ARCHIVE,
    DATASETS,
    Dataset,
    find_dataset,
    load_training,
    num_held_out,
    stratified_split,
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


def test_the_seed_draws_the_validation_split():
    first, second = (numbers_of(load_training(TINY, val_size=50, seed=seed)[1]) for seed in (3, 4))
    assert first != second


def put_in_cache(file, content):
    file.path.parent.mkdir(parents=True, exist_ok=True)
    file.path.write_bytes(content)
    file.hash_path.write_text(hashlib.sha256(content).hexdigest())


def test_cifar10_that_is_not_in_the_cache_folder_can_be_downloaded(tmp_path):
    with pytest.raises(DataError, match="is not in") as caught:
        find_dataset("cifar10").load_train()
    assert caught.value.code == "data_missing"
    assert str(tmp_path / "cache") in caught.value.message
    assert caught.value.hint == "fetch it with: alexnet download --data cifar10"


@pytest.mark.slow
def test_cifar10_is_read_from_the_cache_folder(synthetic_archive):
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
    test = dataset.load_test()
    np.testing.assert_array_equal(test.labels_N, labels)
    with pytest.raises(UsageError, match="has test images only") as caught:
        load_training(dataset, val_size=1, seed=0)
    assert "alexnet train --data cifar10," in caught.value.hint


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


BALANCED = np.arange(500) % 10
UNEVEN = np.repeat(np.arange(6), [1, 2, 3, 40, 300, 1000])


def test_the_seed_fixes_the_split_whatever_numpys_global_state_is():
    draws = []
    for seed in (0, 0, 1):
        np.random.seed(len(draws))  # noqa: NPY002 (the state under test)
        draws.append(stratified_split(BALANCED, val_size=50, seed=seed)[1].tolist())
    assert draws[0] == draws[1] != draws[2]


@given(data=st.data(), labels=st.lists(st.integers(0, 6), min_size=2, max_size=200))
def test_the_parts_are_disjoint_complete_and_in_proportion(data, labels):
    labels = np.array(labels)
    val_size = data.draw(st.integers(1, len(labels) - 1))
    train, val = stratified_split(labels, val_size=val_size, seed=3)
    assert len(val) == val_size
    np.testing.assert_array_equal(np.sort(np.concatenate([train, val])), np.arange(len(labels)))
    assert (np.diff(train) > 0).all()
    assert (np.diff(val) > 0).all()
    exact = np.bincount(labels) * (val_size / len(labels))
    held_out = np.bincount(labels[val], minlength=len(exact))
    assert (np.abs(held_out - exact) < 1 + 1e-9).all()


@pytest.mark.parametrize(
    ("labels", "val_size", "digest"),
    [
        (np.arange(50_000) % 10, 5_000, "22929971"),
        (np.arange(50_000) % 10, None, "22929971"),
        (np.arange(50_000) % 10, 0.1, "22929971"),
        (UNEVEN, 7, "3d974fb8"),
        (UNEVEN, 134, "ab4a71e3"),
        (UNEVEN, 1345, "4ba9652d"),
    ],
)
def test_splits_of_released_versions_stay(labels, val_size, digest):
    train, val = stratified_split(labels, val_size=val_size, seed=3)
    assert hashlib.sha256(train.tobytes() + val.tobytes()).hexdigest()[:8] == digest


@pytest.mark.parametrize(
    ("counts", "val_size", "expected"),
    [
        ([20, 20, 20], None, [2, 2, 2]),
        ([5_000] * 20, None, [250] * 20),
        ([1_000] * 10, None, [100] * 10),
        ([100, 2, 1], None, [9, 1, 0]),
        ([2, 2, 2, 1], None, [1, 1, 1, 0]),
        ([20, 20, 20], 0.25, [5, 5, 5]),
        ([60_000, 40_000], 0.1, [6_000, 4_000]),
        ([9, 3], 0.99, [8, 2]),
        ([100, 2], 10, [10, 0]),
    ],
    ids=str,
)
def test_a_share_holds_out_and_keeps_some_of_each_class(counts, val_size, expected):
    labels = np.repeat(np.arange(len(counts)), counts)
    _, val = stratified_split(labels, val_size=val_size, seed=0)
    assert np.bincount(labels[val], minlength=len(counts)).tolist() == expected
    assert num_held_out(labels, val_size) == sum(expected)


def test_single_images_are_not_held_out():
    with pytest.raises(UsageError, match="no class has two") as caught:
        num_held_out(np.arange(5), None)
    assert "val/CLASS/" in caught.value.hint


def test_the_draw_is_random_within_each_class():
    _, val = stratified_split(BALANCED, val_size=100, seed=0)
    for label in range(10):
        places = np.flatnonzero(BALANCED[val] == label)
        assert len(places) == 10
    assert val.min() < 100  # not a run at one end
    assert val.max() >= 400


@pytest.mark.parametrize("val_size", [-1, 0, 500, 501])
def test_both_parts_must_get_something(val_size):
    with pytest.raises(UsageError) as caught:
        stratified_split(BALANCED, val_size=val_size, seed=0)
    assert caught.value.message == f"cannot hold out {val_size} of 500 training images"
    assert "between 1 and 499" in caught.value.hint
