"""Crops, flips and colours of an epoch."""

import numpy as np
import pytest
import torch

from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.data.augment import BatchSettings, EpochDraw, crop_and_flip

NUM_IMAGES = 400


def draw(*, epoch=0, crop_size_px=6, **changes):
    settings = {"image_size_px": 8, "batch_size": 5, "pad_px": 0, "flip": True, "seed": 1} | changes
    return EpochDraw(
        NUM_IMAGES,
        BatchSettings(**settings),
        crop_size_px=crop_size_px,
        epoch=epoch,
        device=torch.device("cpu"),
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
    assert sorted(drawn.order_N.tolist()) == list(range(NUM_IMAGES))
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
    axes, everything = statistics.noise_axes(0.1), torch.arange(NUM_IMAGES)
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
