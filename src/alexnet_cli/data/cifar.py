"""Reading CIFAR-10's two official archives without unpacking them.

Members are found by their exact name and read in memory; nothing an archive names is ever
written to the disk, and no general unpickling takes place.

Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images"; file layouts
from the dataset's page at the University of Toronto.
"""

import io
import pickle
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.errors import DataError

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
IMAGE_SIZE = 32
_IMAGES_PER_FILE = 10_000
_PIXEL_BYTES = 3 * IMAGE_SIZE * IMAGE_SIZE
_RECORD_BYTES = 1 + _PIXEL_BYTES
_BINARY_FOLDER, _PYTHON_FOLDER = "cifar-10-batches-bin", "cifar-10-batches-py"
_MEMBER_LIMIT_BYTES = 70_000_000  # a batch is 31 MB, twice that when pickled anew by Python 3


def read_archive(path: Path) -> tuple[ImageArrays, ImageArrays]:
    """Read the training and the test set from either official archive, or one of its layout.

    Args:
        path: A `.tar.gz` whose hash has been checked already.

    Returns:
        50,000 training and 10,000 test images, in the order of the archive.

    Raises:
        DataError: Not a gzip-compressed tar, or a member is missing, damaged or of another size.
    """
    try:
        with tarfile.open(path, "r:gz") as archive:
            members = _read_members(archive)
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError) as error:
        raise _broken(path, str(error) or "it ends too early") from error
    layouts = [
        (_BINARY_FOLDER, "data_batch_{}.bin", "test_batch.bin", _decode_binary),
        (_PYTHON_FOLDER, "data_batch_{}", "test_batch", _decode_python),
    ]
    for folder, train_name, test_name, decode in layouts:
        names = [f"{folder}/{train_name.format(i)}" for i in range(1, 6)] + [
            f"{folder}/{test_name}"
        ]
        if not all(name in members for name in names):
            continue
        try:
            *train, test = [decode(members.pop(name), name) for name in names]
        except _LayoutError as error:
            raise _broken(path, str(error)) from error
        return _join(train), test
    raise _broken(path, f"it has neither all of {_BINARY_FOLDER}/ nor all of {_PYTHON_FOLDER}/")


class _LayoutError(ValueError):
    """A member is not what its name promises."""


def _broken(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} is not a CIFAR-10 archive ({reason})",
        hint="fetch it again with: alexnet download --force",
        code="archive_invalid",
    )


def _read_members(archive: tarfile.TarFile) -> dict[str, bytes]:
    """Read the regular files in the two known folders, one pass, bounded in size and number."""
    members: dict[str, bytes] = {}
    for member in archive:
        folder = member.name.rpartition("/")[0]
        wanted = member.isreg() and folder in (_BINARY_FOLDER, _PYTHON_FOLDER)
        if not wanted or member.size > _MEMBER_LIMIT_BYTES or len(members) >= 20:
            continue
        file = archive.extractfile(member)
        if file is not None:
            members[member.name] = file.read()
    return members


def _decode_binary(content: bytes, name: str) -> ImageArrays:
    expected = _IMAGES_PER_FILE * _RECORD_BYTES
    if len(content) != expected:
        raise _LayoutError(f"{name} has {len(content)} bytes, expected {expected}")
    records = np.frombuffer(content, np.uint8).reshape(_IMAGES_PER_FILE, _RECORD_BYTES)
    return _checked(records[:, 1:], records[:, 0], name)


def _decode_python(content: bytes, name: str) -> ImageArrays:
    try:
        batch = _NumpyOnlyUnpickler(io.BytesIO(content), encoding="bytes").load()
        pixels, labels = batch[b"data"], np.asarray(batch[b"labels"])
    except Exception as error:
        # A pickle is a program: a damaged one can fail with any exception there is.
        raise _LayoutError(f"{name} cannot be read: {error}") from error
    shape = (_IMAGES_PER_FILE, _PIXEL_BYTES)
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape != shape:
        raise _LayoutError(f"{name} does not hold uint8 pixels of shape {shape}")
    if labels.shape != (_IMAGES_PER_FILE,) or labels.dtype.kind not in "iu":
        raise _LayoutError(f"{name} does not hold {_IMAGES_PER_FILE} labels")
    return _checked(pixels, labels, name)


class _NumpyOnlyUnpickler(pickle.Unpickler):
    """Builds numpy arrays and nothing else."""

    _ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")
        return super().find_class(module_name.replace("numpy.core", "numpy._core"), global_name)


def _checked(pixels: NDArray[np.uint8], labels: NDArray[Any], name: str) -> ImageArrays:
    if labels.min() < 0 or labels.max() >= len(CLASSES):
        raise _LayoutError(f"{name} has labels outside 0–{len(CLASSES) - 1}")
    planes = pixels.reshape(-1, 3, IMAGE_SIZE, IMAGE_SIZE)
    return ImageArrays(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels.astype(np.int64))


def _join(parts: list[ImageArrays]) -> ImageArrays:
    return ImageArrays(
        np.concatenate([part.images_NHWC for part in parts]),
        np.concatenate([part.labels_N for part in parts]),
    )
