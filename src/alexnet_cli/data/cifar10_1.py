"""CIFAR-10.1: 2,000 new test images of CIFAR-10's classes, in two npy files.

Source: Recht, Roelofs, Schmidt and Shankar 2019, "Do ImageNet Classifiers Generalize to
ImageNet?", and 2018, "Do CIFAR-10 Classifiers Generalize to CIFAR-10?"; version 6 of
https://github.com/modestyachts/CIFAR-10.1.
"""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.data.cifar import CIFAR10, IMAGE_SIZE
from alexnet_cli.errors import DataError

NUM_IMAGES = 2_000
_HEADER_LIMIT_BYTES = 1 << 12


def read_images(path: Path, *, num_images: int = NUM_IMAGES) -> NDArray[np.uint8]:
    """Read the images, uint8 (`num_images`, 32, 32, 3).

    Args:
        path: An npy file whose hash has been checked already.
        num_images: How many it must hold.

    Raises:
        DataError: It does not hold that.
    """
    return _read_npy(
        path, kinds="u", shape=(num_images, IMAGE_SIZE, IMAGE_SIZE, 3), item_bytes=(1,)
    )


def read_labels(path: Path, *, num_images: int = NUM_IMAGES) -> NDArray[np.int64]:
    """Read the labels, int64 (`num_images`,), 0–9.

    Args:
        path: An npy file whose hash has been checked already.
        num_images: How many it must hold.

    Raises:
        DataError: It does not hold that.
    """
    labels_N = _read_npy(path, kinds="iu", shape=(num_images,), item_bytes=(1, 2, 4, 8))
    if labels_N.min() < 0 or labels_N.max() >= len(CIFAR10.classes):
        raise _broken(path, f"it has labels outside 0–{len(CIFAR10.classes) - 1}")
    return labels_N.astype(np.int64)


def read_test(images: Path, labels: Path) -> ImageArrays:
    """Read both files.

    Raises:
        DataError: One of them does not hold what it should.
    """
    return ImageArrays(read_images(images), read_labels(labels))


def _read_npy(
    path: Path, *, kinds: str, shape: tuple[int, ...], item_bytes: tuple[int, ...]
) -> NDArray[Any]:
    """Read an npy file of a known shape; nothing is allocated for what its header declares."""
    num_items = int(np.prod(shape))
    try:
        with path.open("rb") as file:
            content = file.read(_HEADER_LIMIT_BYTES + num_items * max(item_bytes) + 1)
    except OSError as error:
        raise _broken(path, str(error)) from error
    try:
        dtype, found, is_fortran, offset = _read_header(content)
    except Exception as error:
        # The header is a Python literal: a damaged one can fail in many ways.
        raise _broken(path, f"its header cannot be read: {error}") from error
    if found != shape or is_fortran or dtype.kind not in kinds or dtype.itemsize not in item_bytes:
        raise _broken(path, f"it holds {dtype} of shape {found}, expected {shape}")
    if len(content) != offset + num_items * dtype.itemsize:
        raise _broken(path, "it ends too early or too late")
    return np.frombuffer(content, dtype, offset=offset).reshape(shape).copy()


def _read_header(content: bytes) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """Return number format, shape, whether columns come first, and where the numbers begin."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"version {version} of the format")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of headers by Python 2, which numpy repairs
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(
            file, max_header_size=_HEADER_LIMIT_BYTES
        )
    return dtype, shape, is_fortran, file.tell()


def _broken(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} is not of CIFAR-10.1 ({reason})",
        hint="fetch it again with: alexnet download --data cifar10.1 --force",
        code="data_corrupt",
    )
