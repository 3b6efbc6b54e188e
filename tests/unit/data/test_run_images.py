import dataclasses
import hashlib

import numpy as np
import pytest

from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.data.datasets import Dataset, load_training
from alexnet_cli.data.run_images import (
    count_identical,
    describe_identical,
    draw_images,
    read_record,
    restore_images,
)
from alexnet_cli.run_folder import RunFolder

NUM_IMAGES, NUM_VAL = 40, 10


def images_of(numbers, labels=None):
    """Return images that are told apart by their number."""
    numbers = np.asarray(numbers)
    images = np.zeros((len(numbers), 2, 2, 3), np.uint8)
    images[:, 0, 0, 0] = numbers
    return ImageArrays(images, numbers % 2 if labels is None else np.asarray(labels))


def numbers_of(source):
    return source.images_NHWC[:, 0, 0, 0].tolist()


def dataset_of(train, val=None):
    return Dataset("tiny", ("even", "odd"), 2, lambda: train, lambda: train, lambda: val)


def draw(dataset):
    return draw_images(dataset, val_size=NUM_VAL, seed=1)


@pytest.fixture
def drawn():
    return draw(dataset_of(images_of(range(NUM_IMAGES))))


def restore(drawn, numbers, labels=None, val=None):
    return restore_images(dataset_of(images_of(numbers, labels), val), drawn.record())


def test_the_split_is_that_of_load_training(drawn):
    dataset = dataset_of(images_of(range(NUM_IMAGES)))
    train, val = load_training(dataset, val_size=NUM_VAL, seed=1)
    assert numbers_of(drawn.train) == numbers_of(train)
    assert numbers_of(drawn.val) == numbers_of(val)


def test_files_in_another_order_are_the_same_images(drawn):
    again = restore(drawn, np.random.default_rng(0).permutation(NUM_IMAGES))
    assert numbers_of(again.train) == numbers_of(drawn.train)
    assert numbers_of(again.val) == numbers_of(drawn.val)
    assert again.fingerprint == drawn.fingerprint
    assert (again.num_new, again.num_missing) == (0, 0)


def test_equal_images_stay_on_their_side():
    """Each image is there four times; the two classes share two of them."""
    numbers = np.repeat(np.arange(10), 4)
    labels = np.arange(40) % 2
    drawn = draw(dataset_of(images_of(numbers, labels)))
    assert set(numbers_of(drawn.train)) & set(numbers_of(drawn.val))
    again = restore(drawn, numbers, labels)
    assert again.fingerprint == drawn.fingerprint
    assert (again.num_new, again.num_missing) == (0, 0)


@pytest.mark.parametrize("change", ["pixels", "class", "swap"])
def test_another_image_or_class_is_another_set(drawn, change):
    numbers, labels = np.arange(NUM_IMAGES), np.arange(NUM_IMAGES) % 2
    trained, held_out = numbers_of(drawn.train)[0], numbers_of(drawn.val)[0]
    match change:
        case "pixels":
            numbers[trained] = 200
        case "class":
            labels[trained] = 1 - labels[trained]
        case "swap":  # names of two files, of a class
            same = next(n for n in numbers_of(drawn.val) if n % 2 == trained % 2)
            numbers[[trained, same]] = numbers[[same, trained]]
    again = restore(drawn, numbers, labels)
    assert not set(numbers_of(again.val)) & set(numbers_of(drawn.train))
    assert held_out in numbers_of(again.val)
    assert (again.fingerprint == drawn.fingerprint) == (change == "swap")
    expected = 0 if change == "swap" else 1
    assert (again.num_new, again.num_missing) == (expected, expected)


def test_added_images_are_trained_on_and_copies_stay_on_their_side(drawn):
    trained, held_out = numbers_of(drawn.train)[0], numbers_of(drawn.val)[0]
    again = restore(drawn, [100, 101, *range(NUM_IMAGES), held_out, trained])
    assert numbers_of(again.train) == [*numbers_of(drawn.train), 100, 101, trained]
    assert numbers_of(again.val) == [*numbers_of(drawn.val), held_out]
    assert (again.num_new, again.num_missing) == (4, 0)
    dataset = dataset_of(images_of([100, *range(NUM_IMAGES)]))
    known = restore_images(dataset, drawn.record(), with_new=False)
    assert known.fingerprint == drawn.fingerprint


def test_what_was_trained_on_is_remembered_after_it_is_gone(drawn):
    gone = numbers_of(drawn.train)[0]
    again = restore(drawn, [n for n in range(NUM_IMAGES) if n != gone])
    assert again.num_missing == 1
    record = again.record(drawn.record())
    assert images_of([gone]).hashes()[0] in record.trained_on
    back = restore_images(dataset_of(images_of(range(NUM_IMAGES))), record)
    assert gone in numbers_of(back.train)


def test_an_image_moved_from_train_to_val_is_not_validated_on():
    drawn = draw(dataset_of(images_of(range(20)), images_of(range(20, 30))))
    again = restore(drawn, range(1, 20), val=images_of([0, *range(20, 30), 40]))
    assert numbers_of(again.val) == [*range(20, 30), 40]


def test_images_that_weights_were_trained_on_are_trained_on_again(drawn):
    other = dataset_of(images_of(range(NUM_IMAGES)))
    plain = draw_images(other, val_size=NUM_VAL, seed=2)
    found = draw_images(other, val_size=NUM_VAL, seed=2, trained_on=drawn.record().trained_on)
    assert set(numbers_of(plain.val)) & set(numbers_of(drawn.train))
    assert not set(numbers_of(found.val)) & set(numbers_of(drawn.train))
    assert sorted(numbers_of(found.train) + numbers_of(found.val)) == list(range(NUM_IMAGES))
    record = found.record(drawn.record())
    assert restore_images(other, record).fingerprint == found.fingerprint


def test_a_record_is_read_as_it_was_written_or_not_at_all(drawn, tmp_path):
    run, record = RunFolder(tmp_path), drawn.record()
    assert read_record(run) is None
    record.write(run)
    again = read_record(run)
    for field in dataclasses.fields(record):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(record, field.name))
    content = bytearray(run.images.read_bytes())
    content[len(content) // 2] ^= 1
    for damaged in (content, content[:50], b""):
        run.images.write_bytes(damaged)
        assert read_record(run) is None


def test_fingerprints_of_earlier_versions_are_known(drawn):
    digest = hashlib.sha256()
    for part in (drawn.train, drawn.val):
        digest.update(hashlib.sha256(part.labels_N.tobytes()).digest())
    name = f"30 to train on, 10 held out ({digest.hexdigest()[:12]})"
    assert drawn.has_fingerprint(name)
    assert not drawn.has_fingerprint(name.replace("30", "31"))


def test_identical_images_are_counted():
    train, val, test = (images_of(n).hashes() for n in ([1, 1, 2, 3], [3, 4], [1, 4, 5, 5]))
    counts = count_identical(train, val, test)
    assert counts == {
        "repeated_in_train": 1,
        "val_in_train": 1,
        "test_in_train": 1,
        "test_in_val": 1,
    }
    assert describe_identical(counts)
    counts = count_identical(train, None, None)
    assert set(counts.values()) == {1, None}
    assert not describe_identical(counts)
