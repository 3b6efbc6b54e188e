"""Images for both sides of the parts that load data."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.data.cache import is_cached
from alexnet_cli.data.datasets import CIFAR10_ARCHIVE, find_dataset
from benchmarks.plain_loop import write_files


def choose_data() -> str:
    """Return `cifar10` if its archive is downloaded, else `shapes`."""
    return "cifar10" if is_cached(CIFAR10_ARCHIVE) else "shapes"


def load(data: str) -> tuple[ImageArrays, ImageArrays]:
    """Return the official training and test sets."""
    dataset = find_dataset(data)
    return dataset.load_train(), dataset.load_test()


@contextlib.contextmanager
def plain_files(train: ImageArrays, test: ImageArrays) -> Iterator[Path]:
    """Provide a folder with images for the plain loop."""
    with tempfile.TemporaryDirectory() as name:
        write_files(Path(name), train, test)
        yield Path(name)
