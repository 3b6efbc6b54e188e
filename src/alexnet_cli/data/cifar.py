"""The CIFAR datasets: readers of the official archives, and of CIFAR-10.1's npy files.

Members of an archive are found by their exact name and read in memory, bounded in size. Nothing
that an archive names is written to the disk, and no general unpickling takes place.

Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images"; file layouts and
class names from the datasets' page at the University of Toronto. CIFAR-10.1, 2,000 new test images:
Recht, Roelofs, Schmidt and Shankar 2019, "Do ImageNet Classifiers Generalize to ImageNet?";
version 6 of https://github.com/modestyachts/CIFAR-10.1.
"""

import codecs
import gzip
import io
import pickle
import pickletools
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.errors import DataError

IMAGE_SIZE = 32
PIXEL_BYTES = 3 * IMAGE_SIZE * IMAGE_SIZE
_TEXT_BYTES = 100  # of a pickle, for each image: its label and its file name


@dataclass(frozen=True)
class CifarLayout:
    """A dataset that is published as a binary and as a Python archive."""

    name: str  # as --data calls it
    title: str
    classes: tuple[str, ...]  # in label order
    binary: tuple[str, ...]  # training files, then the test file: label bytes, then RGB planes
    python: tuple[str, ...]  # the same as pickled dictionaries
    train_images: int  # in each training file
    test_images: int
    label_bytes: int = 1  # of a record
    label_place: int = 0  # the label byte that is the class
    label_key: bytes = b"labels"  # where the dictionaries hold the classes

    @property
    def record_bytes(self) -> int:
        return self.label_bytes + PIXEL_BYTES

    @property
    def num_train(self) -> int:
        return self.train_images * (len(self.binary) - 1)

    def num_images(self, name: str) -> int:
        is_test = name in (self.binary[-1], self.python[-1])
        return self.test_images if is_test else self.train_images

    @property
    def archive_limit_bytes(self) -> int:
        """The most bytes that an archive may unpack to."""
        # Pickled anew by Python 3, pixels take up to twice their bytes.
        image_bytes = 2 * PIXEL_BYTES + _TEXT_BYTES
        return image_bytes * (self.num_train + self.test_images) + (1 << 20)


CIFAR10 = CifarLayout(
    "cifar10",
    "CIFAR-10",
    (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    ),
    binary=(
        *(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)),
        "cifar-10-batches-bin/test_batch.bin",
    ),
    python=(
        *(f"cifar-10-batches-py/data_batch_{i}" for i in range(1, 6)),
        "cifar-10-batches-py/test_batch",
    ),
    train_images=10_000,
    test_images=10_000,
)  # fmt: skip

CIFAR100 = CifarLayout(
    "cifar100",
    "CIFAR-100",
    (
        "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle",
        "bottle", "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle",
        "caterpillar", "cattle", "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch",
        "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox",
        "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard",
        "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse",
        "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck",
        "pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray",
        "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail",
        "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
        "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle",
        "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
    ),
    binary=("cifar-100-binary/train.bin", "cifar-100-binary/test.bin"),
    python=("cifar-100-python/train", "cifar-100-python/test"),
    train_images=50_000,
    test_images=10_000,
    label_bytes=2,  # the coarse label, one of 20 superclasses, then the fine one
    label_place=1,
    label_key=b"fine_labels",
)  # fmt: skip


_MAX_TUPLES = 100  # of a pickle; a batch has about five
_MAX_MEMOS = 1_000_000  # of a pickle; a batch has at most some for each image


def read_archive(path: Path, layout: CifarLayout = CIFAR10) -> tuple[ImageArrays, ImageArrays]:
    """Read the training and the test set from either official archive, or one of its layout.

    The hash of the archive, a `.tar.gz`, has been checked already.

    Returns:
        Training and test images, in the order of the archive.

    Raises:
        DataError: Not a gzip-compressed tar, or a member is missing, damaged or of another size.
    """
    try:
        members = _read_members(path, layout)
        for files, decode in ((layout.binary, _decode_binary), (layout.python, _decode_python)):
            if all(name in members for name in files):
                *train, test = [decode(members.pop(name), name, layout) for name in files]
                return _join(train), test
    except (
        tarfile.TarError, EOFError, zlib.error, OSError, ValueError, RecursionError
    ) as error:  # fmt: skip
        raise _broken(path, layout, str(error) or "it ends too early") from error
    folders = [files[-1].rpartition("/")[0] for files in (layout.binary, layout.python)]
    raise _broken(path, layout, f"it has neither all of {folders[0]}/ nor all of {folders[1]}/")


class _LayoutError(ValueError):
    """A member does not hold what its name says."""


def _broken(path: Path, layout: CifarLayout, reason: str) -> DataError:
    return DataError(
        f"{path} is not a {layout.title} archive ({reason})",
        hint=f"fetch it again with: alexnet download --data {layout.name} --force",
        code="archive_invalid",
    )


def _read_members(path: Path, layout: CifarLayout) -> dict[str, bytes]:
    """Read the regular files of the known names, bounded in size."""
    wanted, members = {*layout.binary, *layout.python}, {}
    limit_bytes = layout.archive_limit_bytes
    with gzip.open(path) as file:
        content = file.read(limit_bytes + 1)  # to the end, where gzip compares its checksum
    if len(content) > limit_bytes:
        raise _LayoutError(f"it unpacks to more than {limit_bytes:,} bytes")
    # As a stream ("|"), tarfile never goes back: no header can send it round in a circle.
    with tarfile.open(fileobj=io.BytesIO(content), mode="r|") as archive:
        for member in archive:
            if member.size > len(content):
                raise _LayoutError(f"{member.name!r} declares {member.size:,} bytes")
            if member.name in wanted and member.isreg() and not member.issparse():
                file_in_tar = archive.extractfile(member)
                members[member.name] = file_in_tar.read() if file_in_tar else b""
    return members


def _decode_binary(content: bytes, name: str, layout: CifarLayout) -> ImageArrays:
    shape = (layout.num_images(name), layout.record_bytes)
    if len(content) != shape[0] * shape[1]:
        raise _LayoutError(f"{name} has {len(content)} bytes, expected {shape[0] * shape[1]}")
    records = np.frombuffer(content, np.uint8).reshape(shape)
    labels_N = records[:, layout.label_place]
    if labels_N.max() >= len(layout.classes):
        raise _other_labels(name, layout)
    return _images(records[:, layout.label_bytes :], labels_N.astype(np.int64))


def _decode_python(content: bytes, name: str, layout: CifarLayout) -> ImageArrays:
    num_images = layout.num_images(name)
    shape = (num_images, PIXEL_BYTES)
    try:
        _require_modest(content)
        batch = _BatchUnpickler(io.BytesIO(content), encoding="bytes").load()
        pixels, labels = batch[b"data"], batch[layout.label_key]
    except Exception as error:
        # A pickle is a program: a damaged one can fail with any exception there is.
        raise _LayoutError(f"{name} cannot be read: {error}") from error
    is_uint8 = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8
    if not is_uint8 or pixels.shape != shape:
        raise _LayoutError(f"{name} does not hold uint8 pixels of shape {shape}")
    are_ints = isinstance(labels, list) and all(type(label) is int for label in labels)
    if not are_ints or len(labels) != num_images:
        raise _LayoutError(f"{name} does not hold {num_images} labels")
    if min(labels) < 0 or max(labels) >= len(layout.classes):
        raise _other_labels(name, layout)
    return _images(pixels, np.array(labels, np.int64))


def _require_modest(content: bytes) -> None:
    """Refuse a pickle that would fill the memory or the stack before it builds anything.

    The unpickler makes room for the largest number of a memo at once, and the hash of tuples
    nested deep enough ends the process.
    """
    num_tuples = 0
    for opcode, argument, _ in pickletools.genops(content):
        num_tuples += "TUPLE" in opcode.name
        memo = int(argument or 0) if "PUT" in opcode.name else 0
        if num_tuples > _MAX_TUPLES or memo > _MAX_MEMOS:
            raise _LayoutError("it is not a pickled batch of images")


def _uint8(code: object, *_: object) -> np.dtype[np.uint8]:
    if code not in (b"u1", "u1"):
        raise pickle.UnpicklingError(f"its array is of {code!r}, not of uint8 pixels")
    return np.dtype(np.uint8)


# What a batch may ask for, and what it gets: nothing here runs a program or makes an array of
# objects.
_ALLOWED = {
    "numpy.core.multiarray._reconstruct": lambda *_: np.empty(0, np.uint8),
    "numpy.ndarray": object,  # an argument of _reconstruct
    "numpy.dtype": _uint8,
    "_codecs.encode": codecs.encode,  # Python 3 writes bytes this way for Python 2
}


class _BatchUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        name = f"{module_name}.{global_name}"
        try:
            return _ALLOWED[name.replace("numpy._core", "numpy.core")]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {name}") from None


def _other_labels(name: str, layout: CifarLayout) -> _LayoutError:
    return _LayoutError(f"{name} has labels outside 0–{len(layout.classes) - 1}")


def _images(planes: NDArray[np.uint8], labels_N: NDArray[np.int64]) -> ImageArrays:
    planes_NCHW = planes.reshape(-1, 3, IMAGE_SIZE, IMAGE_SIZE)
    return ImageArrays(np.ascontiguousarray(planes_NCHW.transpose(0, 2, 3, 1)), labels_N)


def _join(parts: list[ImageArrays]) -> ImageArrays:
    return ImageArrays(
        np.concatenate([part.images_NHWC for part in parts]),
        np.concatenate([part.labels_N for part in parts]),
    )


CIFAR10_1_SIZE = 2_000


def read_cifar10_1_images(path: Path, *, num_images: int = CIFAR10_1_SIZE) -> NDArray[np.uint8]:
    """Read CIFAR-10.1's images, uint8 (`num_images`, 32, 32, 3).

    Raises:
        DataError: The file does not hold that.
    """
    images_NHWC = _map_npy(path, (num_images, IMAGE_SIZE, IMAGE_SIZE, 3))
    if images_NHWC.dtype != np.uint8:
        raise _not_cifar10_1(path, f"it holds {images_NHWC.dtype}")
    return np.array(images_NHWC)


def read_cifar10_1_labels(path: Path, *, num_images: int = CIFAR10_1_SIZE) -> NDArray[np.int64]:
    """Read CIFAR-10.1's labels, int64 (`num_images`,), 0–9.

    Raises:
        DataError: The file does not hold that.
    """
    labels_N = _map_npy(path, (num_images,))
    if not np.issubdtype(labels_N.dtype, np.integer):
        raise _not_cifar10_1(path, f"it holds {labels_N.dtype}")
    if labels_N.min() < 0 or labels_N.max() >= len(CIFAR10.classes):
        raise _not_cifar10_1(path, f"it has labels outside 0–{len(CIFAR10.classes) - 1}")
    return labels_N.astype(np.int64)


def _map_npy(path: Path, shape: tuple[int, ...]) -> NDArray[Any]:
    """Map an npy file: nothing is allocated for what its header declares."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:
        # The header is a Python literal: a damaged one can fail in many ways.
        raise _not_cifar10_1(path, f"it cannot be read: {error}") from error
    if array.shape != shape:
        raise _not_cifar10_1(path, f"it has shape {array.shape}, expected {shape}")
    return array


def _not_cifar10_1(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} is not of CIFAR-10.1 ({reason})",
        hint="fetch it again with: alexnet download --data cifar10.1 --force",
        code="data_corrupt",
    )
