"""Images of several sizes and formats; a bar that remembers; what is in the cache folder."""

import numpy as np
import pytest
from PIL import Image


def draw_images(folder, count, *, first=0):
    """Save `count` images of noise; each second one is a JPEG large enough for a reduced decode."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        random = np.random.default_rng(number)
        width, height = (40 + number, 41) if number % 2 else (9 + number % 5, 8)
        pixels = random.integers(0, 256, (height, width, 3), np.uint8)
        suffix = "JPEG" if number % 2 else "png"
        Image.fromarray(pixels).save(folder / f"{number:03}.{suffix}")


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "photos"
    for index, name in enumerate(("ant", "bee", "élan")):
        draw_images(root / "train" / name, 9, first=index * 9)
        draw_images(root / "test" / name, 2, first=100 + index)
    return root


class Progress:
    """A bar that remembers."""

    def __init__(self):
        self.total = self.seen = 0
        self.closed = False

    def start_at(self, num_bytes):
        self.seen = num_bytes

    def update(self, num_bytes):
        self.seen += num_bytes

    def close(self):
        self.closed = True


@pytest.fixture
def progress():
    return Progress()


@pytest.fixture
def kept(tmp_path):
    """Names in the cache folder."""

    def names():
        folder = tmp_path / "cache"
        found = folder.iterdir() if folder.exists() else ()
        return sorted(path.name for path in found)

    return names
