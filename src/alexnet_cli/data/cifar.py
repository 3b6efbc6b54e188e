"""The official CIFAR archives: their layouts, and a reader that never unpacks them.

Members are found by their exact name and read in memory, bounded in size. Nothing that an archive
names is written to the disk, and no general unpickling takes place.

Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images"; file layouts and
class names from the datasets' page at the University of Toronto.
"""

import gzip
import io
import pickle
import pickletools
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.errors import DataError

IMAGE_SIZE = 32
PIXEL_BYTES = 3 * IMAGE_SIZE * IMAGE_SIZE
_TEXT_BYTES = 100  # of a pickle, for each image: its label and its file name


@dataclass(frozen=True)
class Members:
    """The files of one archive, by their exact names.

    Attributes:
        train: Training images, in order.
        test: Test images.
    """

    train: tuple[str, ...]
    test: str

    @property
    def all(self) -> tuple[str, ...]:
        """Training files, then the test file."""
        return (*self.train, self.test)


@dataclass(frozen=True)
class CifarLayout:
    """A dataset that is published as a binary and as a Python archive.

    Attributes:
        name: What --data calls it.
        title: What people call it.
        classes: Class names in label order.
        binary: Files of records: label bytes, then a red, a green and a blue plane.
        python: Files that are pickled dictionaries.
        train_images: Images in each training file.
        test_images: Images in the test file.
        label_bytes: Label bytes of a record.
        label_place: Which of them is the class.
        label_key: Where the dictionaries hold the classes.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    binary: Members
    python: Members
    train_images: int
    test_images: int
    label_bytes: int = 1
    label_place: int = 0
    label_key: bytes = b"labels"

    @property
    def record_bytes(self) -> int:
        """Bytes of one image in a binary file, its labels included."""
        return self.label_bytes + PIXEL_BYTES

    @property
    def num_train(self) -> int:
        """Training images in all."""
        return self.train_images * len(self.binary.train)

    def num_images(self, name: str) -> int:
        """Return how many images the file of that name holds."""
        return self.test_images if name in (self.binary.test, self.python.test) else (
            self.train_images
        )  # fmt: skip

    def member_limit_bytes(self, name: str) -> int:
        """Return the most bytes that a file may have: pixels, pickled anew by Python 3, double."""
        return (2 * PIXEL_BYTES + _TEXT_BYTES) * self.num_images(name) + (1 << 16)

    @property
    def archive_limit_bytes(self) -> int:
        """The most bytes that an archive may unpack to."""
        return sum(map(self.member_limit_bytes, self.python.all)) + (1 << 20)


CIFAR10 = CifarLayout(
    "cifar10",
    "CIFAR-10",
    (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    ),
    binary=Members(
        tuple(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)),
        "cifar-10-batches-bin/test_batch.bin",
    ),
    python=Members(
        tuple(f"cifar-10-batches-py/data_batch_{i}" for i in range(1, 6)),
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
    binary=Members(("cifar-100-binary/train.bin",), "cifar-100-binary/test.bin"),
    python=Members(("cifar-100-python/train",), "cifar-100-python/test"),
    train_images=50_000,
    test_images=10_000,
    label_bytes=2,  # the coarse label, one of 20 superclasses, then the fine one
    label_place=1,
    label_key=b"fine_labels",
)  # fmt: skip


_BLOCK_BYTES = 1 << 18
_MOST_TUPLES = 100  # of a pickle; a batch has about five
_MOST_MEMOS = 1_000_000  # of a pickle; a batch has at most some for each image


def read_archive(path: Path, layout: CifarLayout = CIFAR10) -> tuple[ImageArrays, ImageArrays]:
    """Read the training and the test set from either official archive, or one of its layout.

    Args:
        path: A `.tar.gz` whose hash has been checked already.
        layout: The dataset it should hold.

    Returns:
        Training and test images, in the order of the archive.

    Raises:
        DataError: Not a gzip-compressed tar, or a member is missing, damaged or of another size.
    """
    try:
        with gzip.open(path) as file:
            members = _read_members(cast("IO[bytes]", file), layout)
        for files, decode in ((layout.binary, _decode_binary), (layout.python, _decode_python)):
            if all(name in members for name in files.all):
                *train, test = [decode(members.pop(name), name, layout) for name in files.all]
                return _join(train), test
    except (
        tarfile.TarError, EOFError, zlib.error, OSError, ValueError, RecursionError
    ) as error:  # fmt: skip
        raise _broken(path, layout, str(error) or "it ends too early") from error
    folders = [files.test.rpartition("/")[0] for files in (layout.binary, layout.python)]
    raise _broken(path, layout, f"it has neither all of {folders[0]}/ nor all of {folders[1]}/")


class _LayoutError(ValueError):
    """A member is not what its name promises."""


def _broken(path: Path, layout: CifarLayout, reason: str) -> DataError:
    return DataError(
        f"{path} is not a {layout.title} archive ({reason})",
        hint=f"fetch it again with: alexnet download --data {layout.name} --force",
        code="archive_invalid",
    )


class _Bounded:
    """A stream that ends in an error where a bomb would go on."""

    def __init__(self, file: IO[bytes], limit_bytes: int) -> None:
        self._file, self._limit_bytes, self.left_bytes = file, limit_bytes, limit_bytes

    def read(self, size: int) -> bytes:
        """Return up to so many bytes."""
        content = self._file.read(size)
        self.left_bytes -= len(content)
        if self.left_bytes < 0:
            raise _LayoutError(f"it unpacks to more than {self._limit_bytes:,} bytes")
        return content


def _read_members(file: IO[bytes], layout: CifarLayout) -> dict[str, bytes]:
    """Read the regular files of the known names, one pass, bounded in size."""
    wanted, members = {*layout.binary.all, *layout.python.all}, {}
    stream = _Bounded(file, layout.archive_limit_bytes)
    # As a stream ("|"), tarfile asks for blocks of one size and never turns back, so that what a
    # header declares neither allocates memory nor leads it round in a circle.
    with tarfile.open(fileobj=stream, mode="r|", bufsize=_BLOCK_BYTES) as archive:  # type: ignore[call-overload]
        for member in archive:
            if member.size > stream.left_bytes + _BLOCK_BYTES:
                raise _LayoutError(f"{member.name!r} declares {member.size:,} bytes")
            if member.name not in wanted or not member.isreg() or member.issparse():
                continue
            if member.size > layout.member_limit_bytes(member.name):
                raise _LayoutError(f"{member.name} declares {member.size:,} bytes")
            content = archive.extractfile(member)
            if content is not None:
                members[member.name] = content.read()
    while stream.read(_BLOCK_BYTES):
        pass  # gzip compares its checksum at the very end
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
    try:
        _require_modest(content)
        batch = _InertUnpickler(io.BytesIO(content), encoding="bytes").load()
        pixels, labels = batch[b"data"], batch[layout.label_key]
    except Exception as error:
        # A pickle is a program: a damaged one can fail with any exception there is.
        raise _LayoutError(f"{name} cannot be read: {error}") from error
    planes = pixels.planes(num_images) if isinstance(pixels, _PickledArray) else None
    if planes is None:
        shape = (num_images, PIXEL_BYTES)
        raise _LayoutError(f"{name} does not hold uint8 pixels of shape {shape}")
    whole = isinstance(labels, list) and all(type(label) is int for label in labels)
    if not whole or len(labels) != num_images:
        raise _LayoutError(f"{name} does not hold {num_images} labels")
    if min(labels) < 0 or max(labels) >= len(layout.classes):
        raise _other_labels(name, layout)
    return _images(planes, np.array(labels, np.int64))


def _require_modest(content: bytes) -> None:
    """Refuse a pickle that would fill the memory or the stack before it builds anything.

    The unpickler makes room for the largest number of a memo at once, and the hash of tuples
    nested deep enough ends the process.
    """
    num_tuples = 0
    for opcode, argument, _ in pickletools.genops(content):
        num_tuples += "TUPLE" in opcode.name
        memo = int(argument or 0) if "PUT" in opcode.name else 0
        if num_tuples > _MOST_TUPLES or memo > _MOST_MEMOS:
            raise _LayoutError("it is no pickled batch of images")


class _PickledArray:
    """What a pickled array says of itself; none of numpy's code runs on it."""

    state: Any = None

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def planes(self, num_images: int) -> NDArray[np.uint8] | None:
        """Return uint8 (`num_images`, 3072), or nothing where the array is another."""
        if not isinstance(self.state, tuple) or len(self.state) != 5:
            return None
        _, shape, kind, is_fortran, content = self.state
        is_uint8 = isinstance(kind, _PickledType) and kind.code in (b"u1", "u1")
        is_whole = isinstance(content, bytes) and len(content) == num_images * PIXEL_BYTES
        if not is_uint8 or not is_whole or shape != (num_images, PIXEL_BYTES) or is_fortran:
            return None
        return np.frombuffer(content, np.uint8).reshape(num_images, PIXEL_BYTES)


class _PickledType:
    """A pickled number format; of bytes, nothing but its code matters."""

    def __init__(self, code: object = None, *_: object) -> None:
        self.code = code

    def __setstate__(self, state: object) -> None: ...


class _InertUnpickler(pickle.Unpickler):
    """Builds plain containers and what stands for numpy's arrays, and nothing else."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        module_name = module_name.replace("numpy._core", "numpy.core")
        match module_name, global_name:
            case ("numpy.core.multiarray", "_reconstruct") | ("numpy", "ndarray"):
                return _PickledArray
            case ("numpy", "dtype"):
                return _PickledType
            case ("_codecs", "encode"):  # Python 3 writes bytes so, for Python 2 to read
                return super().find_class(module_name, global_name)
        raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")


def _other_labels(name: str, layout: CifarLayout) -> _LayoutError:
    return _LayoutError(f"{name} has labels outside 0–{len(layout.classes) - 1}")


def _images(planes: NDArray[np.uint8], labels_N: NDArray[np.int64]) -> ImageArrays:
    planes_NCHW = planes.reshape(-1, 3, IMAGE_SIZE, IMAGE_SIZE)
    return ImageArrays(np.ascontiguousarray(planes_NCHW.transpose(0, 2, 3, 1)), labels_N)


def _join(parts: list[ImageArrays]) -> ImageArrays:
    if len(parts) == 1:
        return parts[0]
    return ImageArrays(
        np.concatenate([part.images_NHWC for part in parts]),
        np.concatenate([part.labels_N for part in parts]),
    )
