"""A dataset that needs no download: ten shapes in colour, 32 × 32, drawn from a seed.

Every image shows one shape of random size, place, rotation and colour on a random two-colour
gradient, under mild noise. The colours do not depend on the class, so a network has to learn the
outline. For first runs, tests and machines without network; it says nothing about photographs.

Each outline is a signed distance: negative inside, zero on the edge, positive outside, in units of
the shape's radius; some are exact only near the edge, where it matters. All fit the unit circle, so
a shape stays inside the image however it is rotated.

Legend: N images, H rows, W columns, C colour channels (red, green, blue).
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Distance: TypeAlias = Callable[[Floats, Floats], Floats]  # (x, y) → distance, all of one shape
Point: TypeAlias = tuple[float, float]

IMAGE_SIZE = 32  # pixels a side, as CIFAR-10 has

_RADIUS_RANGE = (0.275, 0.45)  # of the image side: a shape spans 55 to 90 % of it
_MARGIN_PX = 1.0  # to every border, so that no outline is cut
_EDGE_WIDTH_PX = 1.2  # over which the outline fades; below 1 the edges look like stairs
_MIN_CONTRAST = 115.0  # distance in RGB, of at most 442, from the nearest background colour
_COLOUR_CANDIDATES = 16  # misses that contrast, by little, for two images in ten thousand
_NOISE_STD = 6.0  # of 255, for each pixel and channel by itself
_CHUNK = 64  # images drawn at once: their coordinates stay within a core's cache


def _polygon(vertices: list[Point]) -> Distance:
    """Return the exact signed distance of a simple polygon.

    Source: https://iquilezles.org/articles/distfunctions2d/ (Polygon).
    """
    edges = list(zip(vertices, vertices[1:] + vertices[:1], strict=True))

    def distance(x: Floats, y: Floats) -> Floats:
        squared = np.full(x.shape, np.inf, dtype=np.float32)
        inside = np.zeros(x.shape, dtype=np.bool_)
        for (start_x, start_y), (end_x, end_y) in edges:
            edge_x, edge_y = end_x - start_x, end_y - start_y
            from_x, from_y = x - start_x, y - start_y
            length_squared = edge_x**2 + edge_y**2
            along = (from_x * edge_x + from_y * edge_y) * (1 / length_squared)
            np.clip(along, 0, 1, out=along)
            gap_x, gap_y = from_x - edge_x * along, from_y - edge_y * along
            np.minimum(squared, gap_x * gap_x + gap_y * gap_y, out=squared)
            # Even-odd rule: a ray towards +x leaves a polygon as often as it enters, plus one
            # when it began inside.
            side = edge_x * from_y - edge_y * from_x
            ahead = side > 0 if edge_y > 0 else side < 0
            inside ^= ((y >= start_y) != (y >= end_y)) & ahead
        unsigned: Floats = np.sqrt(squared)
        return np.where(inside, -unsigned, unsigned)

    return distance


def _on_circles(radii: list[float], num_vertices: int) -> list[Point]:
    """Return vertices at equal angles whose distance from the centre cycles through radii."""
    angles = [2 * math.pi * i / num_vertices for i in range(num_vertices)]
    return [
        (radii[i % len(radii)] * math.cos(angle), radii[i % len(radii)] * math.sin(angle))
        for i, angle in enumerate(angles)
    ]


def _circle(x: Floats, y: Floats) -> Floats:
    distance: Floats = np.hypot(x, y) - 1
    return distance


def _ring(x: Floats, y: Floats) -> Floats:
    radius = np.hypot(x, y)
    distance: Floats = np.maximum(radius - 1, 0.5 - radius)
    return distance


def _crescent(x: Floats, y: Floats) -> Floats:
    distance: Floats = np.maximum(np.hypot(x, y) - 1, 0.85 - np.hypot(x - 0.5, y))
    return distance


def _cross(x: Floats, y: Floats) -> Floats:
    arm = 0.3  # half its width
    reach = math.sqrt(1 - arm**2)  # puts the outer corners on the unit circle
    x, y = np.abs(x), np.abs(y)
    distance: Floats = np.minimum(
        np.maximum(x - reach, y - arm),
        np.maximum(x - arm, y - reach),
    )
    return distance


# A square on its corner, and a disc on each of its two upper sides. Size is half the square's
# diagonal, drop how far its centre lies below ours: the largest heart that the unit circle holds.
_HEART_SIZE, _HEART_DROP = 0.792, 0.206
_heart_point = _polygon(
    [
        (0, -_HEART_SIZE - _HEART_DROP),
        (_HEART_SIZE, -_HEART_DROP),
        (0, _HEART_SIZE - _HEART_DROP),
        (-_HEART_SIZE, -_HEART_DROP),
    ]
)


def _heart(x: Floats, y: Floats) -> Floats:
    half = _HEART_SIZE / 2
    lobe = np.hypot(np.abs(x) - half, y + (_HEART_DROP - half)) - math.sqrt(2) * half
    distance: Floats = np.minimum(_heart_point(x, y), lobe)
    return distance


_OUTLINES: dict[str, Distance] = {
    "circle": _circle,
    "square": _polygon(_on_circles([1], 4)),
    "triangle": _polygon(_on_circles([1], 3)),
    "star": _polygon(_on_circles([1, 0.42], 10)),
    "cross": _cross,
    "ring": _ring,
    "heart": _heart,
    "crescent": _crescent,
    "arrow": _polygon(
        [
            (1, 0),
            (0.1, 0.85),
            (0.1, 0.28),
            (-0.95, 0.28),
            (-0.95, -0.28),
            (0.1, -0.28),
            (0.1, -0.85),
        ]
    ),
    "hourglass": _polygon(
        [(0.66, 0.75), (-0.66, 0.75), (-0.1, 0), (-0.66, -0.75), (0.66, -0.75), (0.1, 0)]
    ),
}

CLASSES: tuple[str, ...] = tuple(_OUTLINES)


def draw_shapes(num_images: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw a balanced, shuffled dataset of shapes.

    The same arguments give the same bytes on one machine and NumPy version; NumPy does not promise
    its random streams across versions. Sets of different seeds are independent.

    Returns:
        The images, (N, 32, 32, 3) uint8, RGB, and their labels, (N,) int64, indices into CLASSES.
        The counts of any two classes differ by at most one.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(num_images, dtype=np.int64) % len(CLASSES)
    rng.shuffle(labels)
    images = np.empty((num_images, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    for label, outline in enumerate(_OUTLINES.values()):
        places = np.flatnonzero(labels == label)
        for start in range(0, len(places), _CHUNK):
            chunk = places[start : start + _CHUNK]
            images[chunk] = _draw(outline, len(chunk), rng)
    return images, labels


def _draw(outline: Distance, num_images: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    coverage_NHW1 = _cover(outline, num_images, rng)[..., None]
    colours_N2C = rng.uniform(0, 255, (num_images, 2, 3)).astype(np.float32)
    background_NHWC = _blend(colours_N2C, num_images, rng)
    foreground_NC = _choose_foreground(colours_N2C, rng)
    images_NHWC = rng.standard_normal(background_NHWC.shape, dtype=np.float32) * _NOISE_STD
    images_NHWC += background_NHWC
    images_NHWC += coverage_NHW1 * (foreground_NC[:, None, None, :] - background_NHWC)
    # Adding a half turns the truncation of astype into rounding.
    pixels: NDArray[np.uint8] = np.clip(images_NHWC + 0.5, 0, 255).astype(np.uint8)
    return pixels


def _cover(outline: Distance, num_images: int, rng: np.random.Generator) -> Floats:
    """Place shapes at random and return how far each pixel is covered: (N, 32, 32), 0 to 1."""
    radius_px = rng.uniform(*_RADIUS_RANGE, num_images) * IMAGE_SIZE
    room_px = radius_px + _MARGIN_PX
    centre_px = rng.uniform(room_px, IMAGE_SIZE - room_px, (2, num_images))
    angle = rng.uniform(0, 2 * np.pi, num_images)
    cos_N11, sin_N11 = _per_image(np.cos(angle) / radius_px), _per_image(np.sin(angle) / radius_px)
    pixel = np.arange(IMAGE_SIZE, dtype=np.float32) + 0.5  # centres
    across_N1W = pixel[None, None, :] - _per_image(centre_px[0])
    down_NH1 = pixel[None, :, None] - _per_image(centre_px[1])
    x_NHW = cos_N11 * across_N1W + sin_N11 * down_NH1
    y_NHW = cos_N11 * down_NH1 - sin_N11 * across_N1W
    distance_px = outline(x_NHW, y_NHW) * _per_image(radius_px)
    inward = np.clip(0.5 - distance_px / _EDGE_WIDTH_PX, 0, 1)
    coverage: Floats = inward * inward * (3 - 2 * inward)  # smoothstep
    return coverage


def _blend(colours_N2C: Floats, num_images: int, rng: np.random.Generator) -> Floats:
    """Blend two colours along a random direction: (N, 32, 32, 3), 0 to 255."""
    angle = rng.uniform(0, 2 * np.pi, num_images)
    pixel = np.linspace(-0.5, 0.5, IMAGE_SIZE, dtype=np.float32)
    share_NHW = (
        0.5
        + _per_image(np.cos(angle)) * pixel[None, None, :]
        + _per_image(np.sin(angle)) * pixel[None, :, None]
    )
    share_NHW1 = np.clip(share_NHW, 0, 1)[..., None]  # a diagonal is longer than a side
    first, second = colours_N2C[:, 0, None, None, :], colours_N2C[:, 1, None, None, :]
    blended: Floats = first + share_NHW1 * (second - first)
    return blended


def _choose_foreground(colours_N2C: Floats, rng: np.random.Generator) -> Floats:
    """Choose for each image a colour that stands out from its gradient: (N, 3)."""
    num_images = len(colours_N2C)
    candidates_NKC = rng.uniform(0, 255, (num_images, _COLOUR_CANDIDATES, 3)).astype(np.float32)
    # The gradient's colours form a segment in RGB space: measure to its nearest point.
    first_N1C = colours_N2C[:, :1]
    segment_N1C = colours_N2C[:, 1:] - first_N1C
    offset_NKC = candidates_NKC - first_N1C
    length_squared = np.maximum((segment_N1C**2).sum(axis=-1), 1)
    along_NK = np.clip((offset_NKC * segment_N1C).sum(axis=-1) / length_squared, 0, 1)
    contrast_NK = np.linalg.norm(offset_NKC - along_NK[..., None] * segment_N1C, axis=-1)
    # argmax takes the first of equals: the first candidate with enough contrast, or else the best.
    choice_N = np.minimum(contrast_NK, _MIN_CONTRAST).argmax(axis=1)
    chosen: Floats = candidates_NKC[np.arange(num_images), choice_N]
    return chosen


def _per_image(values: NDArray[np.float64]) -> Floats:
    """Reshape one number per image to broadcast over its pixels."""
    return values.astype(np.float32)[:, None, None]
