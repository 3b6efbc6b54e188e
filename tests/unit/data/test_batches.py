import numpy as np
import pytest
import torch

from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.data.augment import BatchSettings, crop_and_flip
from alexnet_cli.data.loader import ResidentBatches
from alexnet_cli.image import resize_all, resize_square

CPU = torch.device("cpu")
NUM_IMAGES = 23


def numbered(num_images=NUM_IMAGES, size_px=8):
    """Images whose label is their number, and whose pixels are all different and not 0."""
    random = np.random.default_rng(0)
    images = random.integers(1, 256, (num_images, size_px, size_px, 3), np.uint8)
    return ImageArrays(images, np.arange(num_images))


def dealt(arrays=None, *, epoch=0, first_batch=0, crop_size_px=6, **changes):
    settings = {"batch_size": 5, "pad_px": 0, "flip": True, "seed": 1}
    arrays = arrays or numbered()
    settings["image_size_px"] = arrays.images_NHWC.shape[1]
    batches = ResidentBatches(arrays, BatchSettings(**settings | changes), device=CPU)
    return list(batches.epoch(epoch, crop_size_px=crop_size_px, first_batch=first_batch))


def assert_same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
        assert one[2] is other[2] is None or torch.equal(one[2], other[2])


def joined(batches):
    """Images and labels of an epoch, by image number."""
    labels = torch.cat([batch.labels_B for batch in batches])
    return torch.cat([batch.images_BSSC for batch in batches])[labels.argsort()].numpy()


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


@pytest.mark.parametrize("batch_size", [1, 5, 23, 100])
def test_each_image_comes_once_per_epoch(batch_size):
    arrays = numbered()
    batches = dealt(arrays, batch_size=batch_size)
    labels = torch.cat([batch.labels_B for batch in batches])
    assert sorted(labels.tolist()) == list(range(NUM_IMAGES))
    full, rest = divmod(NUM_IMAGES, batch_size)
    assert [len(batch.images_BSSC) for batch in batches] == [batch_size] * full + [rest] * bool(
        rest
    )
    settings = BatchSettings(image_size_px=8, batch_size=batch_size, pad_px=0, flip=True, seed=1)
    count = ResidentBatches(arrays, settings, device=CPU)
    assert count.num_batches == len(batches)
    assert count.num_images == NUM_IMAGES


def test_images_stay_with_their_labels_and_are_not_changed():
    arrays = numbered()
    images = joined(dealt(arrays, crop_size_px=8, flip=False))
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, arrays.images_NHWC)


def test_seed_and_epoch_fix_the_batches():
    torch.manual_seed(1)
    first = dealt(epoch=3)
    torch.manual_seed(2)
    assert_same(first, dealt(epoch=3))


@pytest.mark.parametrize("change", [{"epoch": 4}, {"seed": 2}], ids=str)
def test_another_epoch_or_seed_has_another_order_and_other_crops(change):
    first, other = dealt(epoch=3), dealt(**{"epoch": 3, **change})
    orders = [[label for batch in e for label in batch.labels_B.tolist()] for e in (first, other)]
    assert orders[0] != orders[1]
    assert not np.array_equal(joined(first), joined(other))


@pytest.mark.parametrize("first_batch", [0, 1, 4, 5])
def test_a_resumed_epoch_goes_on_where_it_stopped(first_batch):
    whole = dealt(epoch=2)
    assert_same(dealt(epoch=2, first_batch=first_batch), whole[first_batch:])


def test_the_crops_of_an_image_do_not_depend_on_the_batch_size():
    np.testing.assert_array_equal(joined(dealt(batch_size=5)), joined(dealt(batch_size=7)))


def find_crop(crop, image):
    """Return every (top, left, mirrored) that explains a crop."""
    size, free = len(crop), len(image) - len(crop) + 1
    return [
        (top, left, mirrored)
        for top in range(free)
        for left in range(free)
        for mirrored in (False, True)
        if np.array_equal(
            crop[:, ::-1] if mirrored else crop, image[top : top + size, left : left + size]
        )
    ]


@pytest.mark.parametrize("pad_px", [0, 2])
@pytest.mark.parametrize("flip", [False, True])
def test_every_corner_is_drawn_and_half_are_mirrored(pad_px, flip):
    arrays = numbered(400)
    crops = joined(dealt(arrays, batch_size=64, pad_px=pad_px, flip=flip))
    padded = np.pad(arrays.images_NHWC, [(0, 0), (pad_px,) * 2, (pad_px,) * 2, (0, 0)])
    found = [find_crop(crop, image) for crop, image in zip(crops, padded, strict=True)]
    assert all(len(explanations) == 1 for explanations in found)
    corners = {(top, left) for ((top, left, _),) in found}
    free = 8 + 2 * pad_px - 6 + 1
    assert corners == {(top, left) for top in range(free) for left in range(free)}
    share = np.mean([mirrored for ((_, _, mirrored),) in found])
    assert share == 0 if not flip else 0.4 < share < 0.6


def test_resize_all_does_what_predict_does():
    images = numbered(4).images_NHWC
    resized = resize_all(images, 12)
    assert resized.shape == (4, 12, 12, 3)
    for image, big in zip(images, resized, strict=True):
        np.testing.assert_array_equal(big, resize_square(image, 12))
    assert resize_all(images, 8) is images


def test_batches_are_cut_from_resized_images():
    arrays = numbered()
    (images, _, _), *_ = dealt(
        arrays, image_size_px=12, crop_size_px=12, flip=False, batch_size=NUM_IMAGES
    )
    expected = {image.tobytes() for image in resize_all(arrays.images_NHWC, 12)}
    assert {image.tobytes() for image in images.numpy()} == expected


AXES = ((2.0, 0.0, 1.0), (0.0, 3.0, 0.0), (-0.5, 0.0, 1.0))


def test_colours_change_by_the_formulas_mean_and_covariance():
    """[p1, p2, p3][α1 √λ1, α2 √λ2, α3 √λ3]ᵀ with α ~ N(0, σ) has mean 0 and covariance σ²·C."""
    random = np.random.default_rng(4)
    mixed = random.integers(0, 128, (20_000, 1, 1, 3)) @ np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]])
    arrays = ImageArrays(mixed.astype(np.uint8), np.arange(len(mixed)))
    statistics = arrays.colour_statistics()
    axes = tuple(map(tuple, (0.1 * statistics.principal_axes().T).tolist()))
    batches = dealt(arrays, batch_size=1_000, crop_size_px=1, colour_axes=axes)
    changes = np.concatenate([batch.colours_BC.numpy() for batch in batches]).astype(float)
    expected = 0.01 * statistics.covariance_CC
    deviations = np.sqrt(expected.diagonal())
    standard_error = deviations / np.sqrt(len(changes))
    assert (np.abs(changes.mean(axis=0)) < 4 * standard_error).all()
    # Of a Gaussian: var(s_ij) = (s_ii s_jj + s_ij²) / n.
    spread = np.sqrt((np.outer(deviations**2, deviations**2) + expected**2) / len(changes))
    assert (np.abs(np.cov(changes.T) - expected) < 4 * spread).all()


def test_each_use_of_an_image_has_a_colour_of_its_own_that_resumes():
    first, second = (dealt(epoch=epoch, colour_axes=AXES) for epoch in (0, 1))
    by_image = [
        {
            int(n): tuple(c.tolist())
            for b in e
            for n, c in zip(b.labels_B, b.colours_BC, strict=True)
        }
        for e in (first, second)
    ]
    assert len(set(by_image[0].values()) | set(by_image[1].values())) == 2 * NUM_IMAGES
    assert_same(dealt(first_batch=3, colour_axes=AXES), first[3:])
    assert dealt()[0].colours_BC is None


def test_the_noise_of_colours_changes_no_other_draw():
    for plain, noisy in zip(dealt(), dealt(colour_axes=AXES), strict=True):
        assert torch.equal(plain.images_BSSC, noisy.images_BSSC)
        assert torch.equal(plain.labels_B, noisy.labels_B)
