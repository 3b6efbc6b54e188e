import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.data.augment import BatchSettings
from alexnet_cli.data.folder import load_train
from alexnet_cli.data.loader import ResidentBatches, StreamingBatches, make_batches
from alexnet_cli.data.prefetch import RESIDENT_BYTES
from alexnet_cli.errors import DataError

CPU = torch.device("cpu")
SETTINGS = BatchSettings(
    image_size_px=12,
    batch_size=5,
    pad_px=1,
    flip=True,
    seed=3,
    colour_axes=((1.0, 2.0, 0.5), (0.0, 1.0, 0.0)),
)


@pytest.fixture
def folder(photos):
    return load_train(photos, ("ant", "bee", "élan"))


def resident(folder, **changes):
    settings = replace(SETTINGS, **changes)
    arrays = ImageArrays(folder.load_images(settings.image_size_px), folder.labels_N)
    return ResidentBatches(arrays, settings, device=CPU)


def streaming_of(source, *, num_workers=2, **changes):
    settings = replace(SETTINGS, **changes)
    return StreamingBatches(source, settings, device=CPU, num_workers=num_workers)


def assert_same(first, second):
    first, second = list(first), list(second)
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one[0].dtype == torch.uint8
        assert one[0].is_contiguous()
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
        assert torch.equal(one[2], other[2])


def image_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("images")]


@pytest.mark.parametrize("num_workers", [0, 1, 2, 5])
def test_batches_are_those_of_the_images_in_memory(folder, num_workers):
    streaming = streaming_of(folder, num_workers=num_workers)
    expected = resident(folder)
    assert streaming.num_images == expected.num_images == 27
    assert streaming.num_batches == expected.num_batches == 6
    for epoch in (0, 1):
        found = streaming.epoch(epoch, crop_size_px=9)
        assert_same(found, expected.epoch(epoch, crop_size_px=9))


@pytest.mark.parametrize("changes", [{"pad_px": 0}, {"flip": False}, {"batch_size": 40}], ids=str)
def test_batches_are_those_whatever_the_settings(folder, changes):
    streaming = streaming_of(folder, **changes)
    expected = resident(folder, **changes)
    assert_same(streaming.epoch(4, crop_size_px=12), expected.epoch(4, crop_size_px=12))


@pytest.mark.parametrize("first_batch", [1, 5, 6])
def test_a_resumed_epoch_is_the_rest_of_the_whole(folder, first_batch):
    streaming = streaming_of(folder)
    whole = list(streaming.epoch(2, crop_size_px=8))
    rest = streaming.epoch(2, crop_size_px=8, first_batch=first_batch)
    assert_same(rest, whole[first_batch:])


def test_arrays_are_resized_as_they_are_dealt_out():
    random = np.random.default_rng(0)
    arrays = ImageArrays(random.integers(0, 256, (23, 8, 8, 3), np.uint8), np.arange(23))
    streaming = streaming_of(arrays)
    expected = ResidentBatches(arrays, SETTINGS, device=CPU)
    assert_same(streaming.epoch(0, crop_size_px=9), expected.epoch(0, crop_size_px=9))


def test_a_damaged_file_is_named_and_no_thread_is_left(photos, folder):
    path = photos / "train" / "bee" / "011.JPEG"
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(DataError, match=r"bee/011\.JPEG"):
        list(streaming_of(folder, num_workers=0).epoch(0, crop_size_px=9))
    assert image_threads() == []


def test_an_epoch_left_early_leaves_no_thread(folder):
    batches = streaming_of(folder).epoch(0, crop_size_px=9)
    next(batches)
    assert image_threads() != []
    batches.close()
    assert image_threads() == []


def test_what_fits_is_kept_on_the_device_and_the_rest_streamed(folder):
    arrays = ImageArrays(np.zeros((4, 8, 8, 3), np.uint8), np.zeros(4, np.int64))
    assert isinstance(make_batches(arrays, SETTINGS, device=CPU), ResidentBatches)
    assert isinstance(make_batches(folder, SETTINGS, device=CPU), StreamingBatches)
    side = 1 + int((RESIDENT_BYTES / 12) ** 0.5)  # four images of this side are too large
    large = replace(SETTINGS, image_size_px=side)
    assert isinstance(make_batches(arrays, large, device=CPU), StreamingBatches)
