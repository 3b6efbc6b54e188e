"""Crops, flips and colours of an epoch; batches, resident and streamed: the same, bit for bit."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alexnet_cli.data.arrays import RESIDENT_BYTES, ImageArrays
from alexnet_cli.data.batches import (
    Batch,
    BatchSettings,
    EpochDraw,
    ResidentBatches,
    StreamingBatches,
    crop_and_flip,
    make_batches,
)
from alexnet_cli.data.folder import load_train
from alexnet_cli.errors import DataError
from alexnet_cli.image import resize_all

CPU = torch.device("cpu")
NUM_DRAWN = 400


def draw(*, epoch=0, crop_size_px=6, **changes):
    settings = {"image_size_px": 8, "batch_size": 5, "pad_px": 0, "flip": True, "seed": 1} | changes
    return EpochDraw(
        NUM_DRAWN,
        BatchSettings(**settings),
        crop_size_px=crop_size_px,
        epoch=epoch,
        device=CPU,
    )


def choices(drawn):
    return [each.tolist() for each in (drawn.order_N, drawn.corners_N2, drawn.mirrored_N)]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("size_px", [1, 5, 7])
def test_crop_and_flip_is_the_naive_loop(dtype, size_px):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (9, 7, 11, 3), generator=generator).to(dtype)
    corners = torch.stack(
        [
            torch.randint(0, 7 - size_px + 1, (9,), generator=generator),
            torch.randint(0, 11 - size_px + 1, (9,), generator=generator),
        ],
        dim=1,
    )
    mirrored = torch.arange(9) % 2 == 0
    crops = crop_and_flip(images, corners, mirrored, size_px=size_px)
    expected = []
    for image, (top, left), mirror in zip(images, corners.tolist(), mirrored, strict=True):
        crop = image[top : top + size_px, left : left + size_px]
        expected.append(crop.flip(1) if mirror else crop)
    assert crops.dtype == dtype
    assert crops.is_contiguous()
    assert torch.equal(crops, torch.stack(expected))


def test_seed_and_epoch_fix_the_choices_whatever_the_batch_size():
    first = choices(draw(epoch=3))
    torch.manual_seed(2)
    assert choices(draw(epoch=3, batch_size=7)) == first
    for other in (choices(draw(epoch=4)), choices(draw(epoch=3, seed=2))):
        assert all(one != two for one, two in zip(first, other, strict=True))


@pytest.mark.parametrize("pad_px", [0, 2])
@pytest.mark.parametrize("flip", [False, True])
def test_every_corner_is_drawn_and_half_are_mirrored(pad_px, flip):
    drawn = draw(pad_px=pad_px, flip=flip)
    assert sorted(drawn.order_N.tolist()) == list(range(NUM_DRAWN))
    free = 8 + 2 * pad_px - 6 + 1
    corners = {tuple(corner) for corner in drawn.corners_N2.tolist()}
    assert corners == {(top, left) for top in range(free) for left in range(free)}
    share = drawn.mirrored_N.float().mean()
    assert 0.4 < share < 0.6 if flip else share == 0


def test_colours_change_by_the_formulas_mean_and_covariance():
    """[p1, p2, p3][α1 √λ1, α2 √λ2, α3 √λ3]ᵀ with α ~ N(0, σ) has mean 0 and covariance σ²·C."""
    random = np.random.default_rng(4)
    mixed = random.integers(0, 128, (900, 1, 1, 3)) @ np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]])
    statistics = ImageArrays(mixed.astype(np.uint8), np.arange(len(mixed))).colour_statistics()
    axes, everything = statistics.noise_axes(0.1), torch.arange(NUM_DRAWN)
    draws = [draw(epoch=epoch, colour_axes=axes).colours(everything) for epoch in range(50)]
    changes = torch.cat(draws).numpy().astype(float)
    assert len(np.unique(changes, axis=0)) == len(changes)  # each use of an image has its own
    expected = 0.01 * statistics.covariance_CC
    deviations = np.sqrt(expected.diagonal())
    standard_error = deviations / np.sqrt(len(changes))
    assert (np.abs(changes.mean(axis=0)) < 4 * standard_error).all()
    # Of a Gaussian: var(s_ij) = (s_ii s_jj + s_ij²) / n.
    spread = np.sqrt((np.outer(deviations**2, deviations**2) + expected**2) / len(changes))
    assert (np.abs(np.cov(changes.T) - expected) < 4 * spread).all()


def test_the_noise_of_colours_changes_no_other_draw():
    plain, noisy = draw(), draw(colour_axes=((2.0, 0.0, 1.0),))
    assert choices(plain) == choices(noisy)
    assert plain.colours(torch.arange(2)) is None


NUM_IMAGES = 23
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


@pytest.fixture
def arrays():
    """Images whose label is their number, and whose pixels are all different and not 0."""
    images = np.random.default_rng(0).integers(1, 256, (NUM_IMAGES, 8, 8, 3), np.uint8)
    return ImageArrays(images, np.arange(NUM_IMAGES))


def resident_of(source, **changes):
    settings = replace(SETTINGS, **changes)
    arrays = ImageArrays(source.load_images(settings.image_size_px), source.labels_N)
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
        assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))


def joined(batches):
    """Images of an epoch, by label."""
    batches = list(batches)
    labels = torch.cat([batch.labels_B for batch in batches])
    return torch.cat([batch.images_BSSC for batch in batches])[labels.argsort()].numpy()


@pytest.mark.parametrize("batch_size", [1, 5, 23, 100])
def test_each_image_comes_once_per_epoch(arrays, batch_size):
    batches = resident_of(arrays, batch_size=batch_size)
    assert batches.num_images == NUM_IMAGES
    labels = [batch.labels_B.tolist() for batch in batches.epoch(0, crop_size_px=6)]
    assert sorted(label for each in labels for label in each) == list(range(NUM_IMAGES))
    sizes = [len(each) for each in labels]
    assert len(sizes) == batches.num_batches
    assert sizes[:-1] == [batch_size] * (len(sizes) - 1)


def test_images_stay_with_their_labels_and_are_not_changed(arrays):
    batches = resident_of(arrays, pad_px=0, flip=False)
    found = joined(batches.epoch(0, crop_size_px=12))
    np.testing.assert_array_equal(found, resize_all(arrays.images_NHWC, 12))


def test_crops_are_of_the_padded_image_and_its_mirror_image(arrays):
    crops = joined(resident_of(arrays, image_size_px=8, pad_px=2).epoch(0, crop_size_px=10))
    padded = np.pad(arrays.images_NHWC, [(0, 0), (2, 2), (2, 2), (0, 0)])
    for crop, image in zip(crops, padded, strict=True):
        cuts = [image[top : top + 10, left : left + 10] for top in range(3) for left in range(3)]
        cuts += [cut[:, ::-1] for cut in cuts]
        assert sum(np.array_equal(crop, cut) for cut in cuts) == 1


def test_the_crops_of_an_image_do_not_depend_on_the_batch_size(arrays):
    five, seven = (resident_of(arrays, batch_size=size).epoch(0, crop_size_px=6) for size in (5, 7))
    np.testing.assert_array_equal(joined(five), joined(seven))


def image_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("images")]


@pytest.mark.parametrize("num_workers", [0, 1, 2, 5])
def test_batches_are_those_of_the_images_in_memory(folder, num_workers):
    streaming = streaming_of(folder, num_workers=num_workers)
    expected = resident_of(folder)
    assert streaming.num_images == expected.num_images == 27
    assert streaming.num_batches == expected.num_batches == 6
    for epoch in (0, 1):
        found = streaming.epoch(epoch, crop_size_px=9)
        assert_same(found, expected.epoch(epoch, crop_size_px=9))


@pytest.mark.parametrize("changes", [{"pad_px": 0}, {"flip": False}, {"batch_size": 40}], ids=str)
def test_batches_are_those_whatever_the_settings(folder, changes):
    streaming = streaming_of(folder, **changes)
    expected = resident_of(folder, **changes)
    assert_same(streaming.epoch(4, crop_size_px=12), expected.epoch(4, crop_size_px=12))


@pytest.mark.parametrize("first_batch", [1, 5, 6])
@pytest.mark.parametrize("make", [resident_of, streaming_of])
def test_a_resumed_epoch_is_the_rest_of_the_entire_one(folder, make, first_batch):
    batches = make(folder)
    entire = list(batches.epoch(2, crop_size_px=8))
    rest = batches.epoch(2, crop_size_px=8, first_batch=first_batch)
    assert_same(rest, entire[first_batch:])


def test_streamed_arrays_are_resized(arrays):
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


@given(num_images=st.integers(0, 300), at_most=st.integers(0, 50))
def test_micro_batches_cover_a_batch_and_are_small_enough(num_images, at_most):
    labels = torch.arange(num_images)
    micro_batches = Batch(labels, labels, None).split(at_most)
    assert torch.equal(torch.cat([each.labels_B for each in micro_batches]), labels)
    assert micro_batches, "a rank without images still takes part"
    if at_most:
        assert max(len(each.labels_B) for each in micro_batches) <= at_most
