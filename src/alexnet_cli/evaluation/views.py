"""The crops of an image that are averaged in a test.

Source: paper §4.1: "five 224×224 patches (the four corner patches and the center patch) as well
as their horizontal reflections".
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.errors import UsageError
from alexnet_cli.image import crop_centre

VIEW_COUNTS = (1, 5, 9, 10)


def views_of(
    images_NHWC: NDArray[np.uint8], *, crop_size_px: int, num_views: int
) -> Iterator[NDArray[np.uint8]]:
    """Cut each view out of all images.

    Args:
        images_NHWC: uint8, shape (N, H, W, 3) with H, W ≥ `crop_size_px`.
        crop_size_px: Side S of the crops.
        num_views: 1 (the centre), 5 (the corners too), 10 (and their mirror images), or 9 (a grid
            of three by three, as in cuda-convnet2's test on CIFAR-10).

    Yields:
        uint8 arrays (N, S, S, 3), the centre first.

    Raises:
        UsageError: Another number of views.
    """
    if num_views not in VIEW_COUNTS:
        raise UsageError(f"cannot make {num_views} views", hint="use --views 1, 5, 9 or 10")
    if num_views == 9:
        yield from _grid(images_NHWC, crop_size_px)
        return
    centre = crop_centre(images_NHWC, crop_size_px)
    yield centre
    if num_views == 1:
        return
    top_left, bottom_right = slice(None, crop_size_px), slice(-crop_size_px, None)
    crops = [
        images_NHWC[:, y, x] for y in (top_left, bottom_right) for x in (top_left, bottom_right)
    ]
    yield from crops
    if num_views == 10:
        for crop in (centre, *crops):
            yield crop[:, :, ::-1]


def _grid(images_NHWC: NDArray[np.uint8], crop_size_px: int) -> Iterator[NDArray[np.uint8]]:
    tops, lefts = (
        [(free * step) // 2 for step in (1, 0, 2)]
        for free in (side - crop_size_px for side in images_NHWC.shape[1:3])
    )
    for top in tops:
        for left in lefts:
            yield images_NHWC[:, top : top + crop_size_px, left : left + crop_size_px]
