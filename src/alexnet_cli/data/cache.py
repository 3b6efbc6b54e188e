"""The cache folder: published files, and the arrays unpacked from a CIFAR archive.

None is opened before its hash was verified. So that a run need not unpack an archive again, its
splits are kept as arrays, one file each: training never opens the test images. `NAME-train.npy` is
an array of records (pixels, sums of colours, label), `NAME-train.json` holds its hash and that of
the archive. They are hashed at every start, rebuilt unless they are exactly what was written for
this archive, and memory-mapped: processes share their pages.
"""

import contextlib
import hashlib
import json
import logging
import mmap
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from alexnet_cli.console import ByteProgress
from alexnet_cli.data.arrays import ImageArrays, colour_sums
from alexnet_cli.data.cifar import IMAGE_SIZE, CifarLayout, read_archive
from alexnet_cli.data.content import Hashes, hash_pixels, kept_hashes
from alexnet_cli.errors import AlexnetError, DataError
from alexnet_cli.files import atomic_write, cache_folder, release, sha256_of, writing_error

SCHEMA = 1  # of the arrays
TRAIN, TEST = "train", "test"
RECORD = np.dtype([
    ("pixels", "u1", (IMAGE_SIZE, IMAGE_SIZE, 3)), ("colour_sums", "<u4", (9,)), ("label", "u1"),
])  # fmt: skip
_MAX_JSON_BYTES = 4096
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublishedFile:
    """A file with a known content."""

    dataset: str  # as --data calls it
    name: str  # in the cache folder
    url: str
    num_bytes: int | None  # none for other content that the user trusts, known by its hash
    sha256: str  # lowercase hexadecimal
    equivalents: tuple[tuple[int, str], ...] = ()  # bytes and hashes of files of the same images

    @property
    def path(self) -> Path:
        return cache_folder() / self.name

    @property
    def part_path(self) -> Path:
        """Path of the partial download."""
        return cache_folder() / f"{self.name}.{self.sha256[:12]}.part"

    @property
    def hash_path(self) -> Path:
        """Path of the hash of other content that the user trusts."""
        return cache_folder() / f"{self.name}.sha256"

    @property
    def command(self) -> str:
        return f"alexnet download --data {self.dataset}"

    @property
    def accepted_hashes(self) -> tuple[str, ...]:
        return (self.sha256, *(sha256 for _, sha256 in self.equivalents))


def find_file(file: PublishedFile) -> Path:
    """Return a published file in the cache folder, its hash checked again.

    A copy in the working folder or the cache folder, by whatever name, is adopted.

    Raises:
        DataError: It is not there, or no longer what it was when it came in.
    """
    if not file.path.is_file() and adopt_local_copy(file) is None:
        raise DataError(
            f"{file.name} is not in {file.path.parent}, nor in this folder",
            hint=f"fetch it with: {file.command}",
            code="data_missing",
        )
    if not is_cached(file):
        raise DataError(
            f"{file.path} is damaged (sha256 differs)",
            hint=f"fetch it again with: {file.command} --force",
            code="data_corrupt",
        )
    return file.path


def is_cached(file: PublishedFile) -> bool:
    """Return True if a published file is in the cache folder and undamaged."""
    return file.path.is_file() and sha256_of(file.path) == recorded_hash(file)


def recorded_hash(file: PublishedFile) -> str:
    """Return the hash that the file in the cache folder must have."""
    if file.hash_path.is_file():
        return file.hash_path.read_text(encoding="utf-8").strip()
    return file.sha256


def record_hash(file: PublishedFile, sha256: str) -> None:
    """Keep the hash of the content in place, if it is not the published one."""
    if sha256 == file.sha256:
        file.hash_path.unlink(missing_ok=True)
    else:
        atomic_write(file.hash_path, f"{sha256}\n".encode())


def adopt_local_copy(file: PublishedFile) -> Path | None:
    """Copy the file, or an equivalent, from the working or the cache folder, and return its path.

    It is known by its hash, whatever its name. Only files of the right size are read.
    """
    hashes = dict([(file.num_bytes, file.sha256), *file.equivalents])
    for folder in (Path(), cache_folder()):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path == file.path or not path.is_file() or not os.access(path, os.R_OK):
                continue
            expected = hashes.get(path.stat().st_size)
            if expected is not None and sha256_of(path) == expected:
                _copy_into_cache(file, path, sha256=expected)
                return path
    return None


def import_file(
    file: PublishedFile,
    source: Path,
    *,
    sha256: str | None,
    check: Callable[[Path], object],
    progress: ByteProgress,
) -> None:
    """Copy a file that the user names into the cache folder.

    Its hash must be `sha256`, which the user trusts, or by default that of an official file.
    `check` reads content that is not official, or raises DataError.

    Raises:
        DataError: The file is missing, has another hash or another content.
        AlexnetError: No space, or the cache folder cannot be written to.
    """
    if not source.is_file():
        raise DataError(f"no such file: {source}", hint="check the path", code="data_missing")
    progress.total = source.stat().st_size
    found = sha256_of(source, progress.update)
    progress.close()
    if found not in ((sha256.lower(),) if sha256 else file.accepted_hashes):
        raise _other_hash(file, source, found, trusted=sha256)
    if found not in file.accepted_hashes:
        check(source)
    _copy_into_cache(file, source, sha256=found)


def _copy_into_cache(file: PublishedFile, source: Path, *, sha256: str) -> None:
    with locked(file), source.open("rb") as content:
        atomic_write(file.path, content)
        record_hash(file, sha256)


def _other_hash(file: PublishedFile, source: Path, found: str, *, trusted: str | None) -> DataError:
    if trusted:
        reason, hint = f"not {trusted.lower()} as given", "check the file and --sha256"
    else:
        size = source.stat().st_size
        is_short = file.num_bytes is not None and size < file.num_bytes
        short = f"; {size:,} of {file.num_bytes:,} bytes" if is_short else ""
        reason = f"not one of the official files{short}"
        hint = f"if you trust it: {file.command} --archive {shlex.quote(str(source))}"
        hint += f" --sha256 {found}"
    return DataError(f"{source} has sha256 {found}, {reason}", hint=hint, code="hash_differs")


@contextlib.contextmanager
def locked(
    file: PublishedFile, notify: Callable[[str], None] = lambda _message: None
) -> Iterator[None]:
    """Let one process at a time change the file; create the cache folder."""
    lock = FileLock(f"{file.path}.lock")
    try:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            notify(f"another process is fetching {file.name}; waiting for it")
            lock.acquire()
    except OSError as error:
        raise writing_error(file.path, error) from error
    try:
        yield
    finally:
        release(lock)


def load_arrays(archive: PublishedFile, layout: CifarLayout, split: str) -> ImageArrays:
    """Return one split of a CIFAR archive in the cache folder.

    They are returned even if they cannot be kept (a full disk, a read-only folder).

    The archive need not be there if its arrays are.

    Raises:
        DataError: The arrays are missing or damaged, and so is the archive.
    """
    found = _open_arrays(layout, split, recorded_hash(archive))
    if found is not None:
        return found
    path = find_file(archive)
    archive_sha256 = recorded_hash(archive)  # the archive may have come in just now
    train, test = read_archive(path, layout)
    if recorded_hash(archive) == archive_sha256:  # nobody has replaced the archive meanwhile
        for name, arrays in ((TRAIN, train), (TEST, test)):
            _keep_arrays(layout, name, arrays, archive_sha256)
        train = _with_hashes(train, layout, TRAIN, archive_sha256)
        test = _with_hashes(test, layout, TEST, archive_sha256)
    return train if split == TRAIN else test


def load_hashes(archive: PublishedFile, layout: CifarLayout, split: str) -> Hashes:
    """Return the hashes of a split's images; of kept ones without opening the images."""

    def make() -> Hashes:
        return load_arrays(archive, layout, split).hashes()

    return kept_hashes(_hashes_name(layout, split, recorded_hash(archive)), make)


def _with_hashes(
    arrays: ImageArrays, layout: CifarLayout, split: str, archive_sha256: str
) -> ImageArrays:
    name = _hashes_name(layout, split, archive_sha256)
    return replace(arrays, hashes_N=kept_hashes(name, lambda: hash_pixels(arrays.images_NHWC)))


def _hashes_name(layout: CifarLayout, split: str, archive_sha256: str) -> str:
    return f"{layout.name}-{split}-{archive_sha256[:16]}"


def array_path(layout: CifarLayout, split: str) -> Path:
    return cache_folder() / f"{layout.name}-{split}.npy"


def record_path(layout: CifarLayout, split: str) -> Path:
    """Return where the hash of the arrays is kept."""
    return array_path(layout, split).with_suffix(".json")


def _open_arrays(layout: CifarLayout, split: str, archive_sha256: str) -> ImageArrays | None:
    """Map the arrays; None if they are missing, damaged, or of another archive or schema."""
    path = array_path(layout, split)
    num_images = layout.num_train if split == TRAIN else layout.test_images
    try:
        with record_path(layout, split).open("rb") as file:
            record = json.loads(file.read(_MAX_JSON_BYTES))
        if record != _record(archive_sha256, num_images, record["sha256"]):
            return None
        with path.open("rb") as file:
            # Private to this process and writable: PyTorch warns about arrays that are not.
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if hashlib.sha256(content).hexdigest() != record["sha256"]:
        _log.info("%s is damaged; rebuilding it from the archive", path)
        return None
    np.lib.format.read_magic(content)
    np.lib.format.read_array_header_1_0(content)
    records = np.frombuffer(content, RECORD, num_images, offset=content.tell())
    labels_N = records["label"].astype(np.int64)
    arrays = ImageArrays(records["pixels"], labels_N, records["colour_sums"])
    return _with_hashes(arrays, layout, split, archive_sha256)


def _keep_arrays(layout: CifarLayout, split: str, arrays: ImageArrays, archive_sha256: str) -> None:
    """Write the arrays and their hash, if that is possible.

    Processes that do so at once write the same bytes; an array file with the hash of another
    counts as damaged.
    """
    records = np.empty(len(arrays), RECORD)
    records["pixels"] = arrays.images_NHWC
    records["colour_sums"] = colour_sums(arrays.images_NHWC)
    records["label"] = arrays.labels_N
    file = BytesIO()
    np.save(file, records, allow_pickle=False)
    content = file.getvalue()
    record = _record(archive_sha256, len(arrays), hashlib.sha256(content).hexdigest())
    try:
        atomic_write(array_path(layout, split), content)
        atomic_write(record_path(layout, split), json.dumps(record).encode())
    except AlexnetError as error:
        _log.info("the arrays of %s are not kept: %s", layout.name, error.message)


def _record(archive_sha256: str, num_images: int, sha256: str) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "sha256": sha256,  # of the array file, including its header
        "archive_sha256": archive_sha256,
        "num_images": num_images,
    }
