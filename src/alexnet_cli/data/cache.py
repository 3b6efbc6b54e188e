"""The cache folder: published files with known hashes, and the arrays unpacked from archives.

No published file is opened before its hash was verified. The arrays let a run start without
unpacking the archive again: one file per split, so that training never opens the test images.
`NAME-train.npy` is an array of records (pixels, sums of colours, label), `NAME-train.json` holds
its hash and that of the archive. They are hashed at every start, and built anew unless they are
exactly what was written for this archive. The file is memory-mapped: processes share its pages.
"""

import contextlib
import hashlib
import io
import json
import logging
import mmap
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout

from alexnet_cli.data.arrays import ImageArrays, colour_sums
from alexnet_cli.data.cifar import IMAGE_SIZE, CifarLayout, read_archive
from alexnet_cli.errors import AlexnetError, DataError
from alexnet_cli.files import atomic_write, cache_folder, sha256_of, writing_error

if TYPE_CHECKING:
    from alexnet_cli.data.transfer import ProgressBar


@dataclass(frozen=True)
class PublishedFile:
    """A file with a known content.

    Attributes:
        dataset: The dataset that it belongs to, as --data calls it.
        name: File name in the cache folder.
        url: Where it is published.
        num_bytes: Its exact size; none for content that a user vouches for by its hash.
        sha256: Its hash, lowercase hexadecimal.
        equivalents: Other published files of the same images, accepted from the user.
    """

    dataset: str
    name: str
    url: str
    num_bytes: int | None
    sha256: str
    equivalents: tuple["PublishedFile", ...] = ()

    @property
    def path(self) -> Path:
        """Where the file is kept."""
        return cache_folder() / self.name

    @property
    def command(self) -> str:
        """What fetches it."""
        return f"alexnet download --data {self.dataset}"

    @property
    def accepted_hashes(self) -> tuple[str, ...]:
        """Hashes of this file and of its equivalents."""
        return (self.sha256, *(other.sha256 for other in self.equivalents))

    @property
    def part_path(self) -> Path:
        """Where the bytes of an unfinished download are kept."""
        return cache_folder() / f"{self.name}.{self.sha256[:12]}.part"

    @property
    def hash_path(self) -> Path:
        """Where the hash is kept of other content that the user vouched for."""
        return cache_folder() / f"{self.name}.sha256"


def find_file(file: PublishedFile) -> Path:
    """Return a published file in the cache folder, its hash checked again.

    One that the user put into the working folder or the cache folder, by whatever name, is taken.

    Raises:
        DataError: It is not there, or no longer what it was when it came in.
    """
    if not file.path.is_file() and take_by_hand(file) is None:
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
    """Tell whether a published file is in the cache folder and sound."""
    return file.path.is_file() and sha256_of(file.path) == recorded_hash(file)


def recorded_hash(file: PublishedFile) -> str:
    """Return the hash that the file in the cache folder must have."""
    if file.hash_path.is_file():
        return file.hash_path.read_text().strip()
    return file.sha256


def take_by_hand(file: PublishedFile) -> Path | None:
    """Take a copy, or an equivalent, that the user put into the working or the cache folder.

    It is known by its hash, whatever its name. Only files of the right size are read, so the look
    costs nothing where there is none.

    Returns:
        The file that was taken; none if there is none.
    """
    hashes = {one.num_bytes: one.sha256 for one in (file, *file.equivalents)}
    for folder in (Path(), cache_folder()):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path == file.path or not path.is_file() or not os.access(path, os.R_OK):
                continue
            expected = hashes.get(path.stat().st_size)
            if expected is not None and sha256_of(path) == expected:
                _put_in_place(file, path, file_hash=expected)
                return path
    return None


def take_file(
    file: PublishedFile,
    source: Path,
    *,
    sha256: str | None,
    check: Callable[[Path], object],
    progress: "ProgressBar",
) -> None:
    """Copy a file that the user already has into the cache folder.

    Args:
        file: What it is offered as.
        source: The user's file; never changed.
        sha256: The hash the user vouches for; by default one of the official files'.
        check: Reads content that is no official file's, and raises if it is not what it should be.
        progress: Told the bytes hashed.

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
        raise _other_hash(file, source, found, vouched=sha256)
    if found not in file.accepted_hashes:
        check(source)
    _put_in_place(file, source, file_hash=found)


def _put_in_place(file: PublishedFile, source: Path, *, file_hash: str) -> None:
    with locked(file), source.open("rb") as content:
        atomic_write(file.path, content)
        record(file, file_hash)


def record(file: PublishedFile, file_hash: str) -> None:
    """Note which content is in place, where it is not the published one."""
    if file_hash == file.sha256:
        file.hash_path.unlink(missing_ok=True)
    else:
        atomic_write(file.hash_path, f"{file_hash}\n".encode())


def _other_hash(file: PublishedFile, source: Path, found: str, *, vouched: str | None) -> DataError:
    if vouched:
        reason, hint = f"not {vouched.lower()} as given", "check the file and --sha256"
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
    file: PublishedFile, say: Callable[[str], None] = lambda _message: None
) -> Iterator[None]:
    """Let one process at a time change the file; create the cache folder."""
    lock = FileLock(f"{file.path}.lock")
    try:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"another process is fetching {file.name}; waiting for it")
            lock.acquire()
    except OSError as error:
        raise writing_error(file.path, error) from error
    try:
        yield
    finally:
        lock.release()


SCHEMA = 1
TRAIN, TEST = "train", "test"
RECORD = np.dtype(
    [
        ("pixels", "u1", (IMAGE_SIZE, IMAGE_SIZE, 3)),
        ("colour_sums", "<u4", (9,)),
        ("label", "u1"),
    ]
)
_MOST_JSON_BYTES = 4096
_log = logging.getLogger(__name__)


def load_arrays(archive: PublishedFile, layout: CifarLayout, split: str) -> ImageArrays:
    """Return one split of a CIFAR archive in the cache folder.

    Where the arrays of both splits cannot be kept (a full disk, a folder that may not be written
    to), they are returned all the same.

    Args:
        archive: The archive; need not be there where its arrays are.
        layout: What is in it.
        split: `TRAIN` or `TEST`.

    Raises:
        DataError: The arrays are not there or damaged, and neither is the archive.
    """
    found = _open_arrays(layout, split, recorded_hash(archive))
    if found is not None:
        return found
    path = find_file(archive)
    archive_sha256 = recorded_hash(archive)  # the archive may have come in just now
    train, test = read_archive(path, layout)
    if recorded_hash(archive) == archive_sha256:  # nobody has put another one there meanwhile
        for name, arrays in ((TRAIN, train), (TEST, test)):
            _keep_arrays(layout, name, arrays, archive_sha256)
    return train if split == TRAIN else test


def array_path(layout: CifarLayout, split: str) -> Path:
    """Return where the arrays of a split are kept."""
    return cache_folder() / f"{layout.name}-{split}.npy"


def record_path(layout: CifarLayout, split: str) -> Path:
    """Return where their hash is kept."""
    return array_path(layout, split).with_suffix(".json")


def _open_arrays(layout: CifarLayout, split: str, archive_sha256: str) -> ImageArrays | None:
    """Map the arrays; None where they are missing, damaged, or of another archive or schema."""
    path = array_path(layout, split)
    num_images = layout.num_train if split == TRAIN else layout.test_images
    try:
        with record_path(layout, split).open("rb") as file:
            record = json.loads(file.read(_MOST_JSON_BYTES))
        if record != _record(archive_sha256, num_images, record["sha256"]):
            return None
        with path.open("rb") as file:
            # Private to this process and writable: PyTorch warns of arrays that are not.
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    header = _header(num_images)
    is_whole = len(content) == len(header) + num_images * RECORD.itemsize
    if not is_whole or hashlib.sha256(content).hexdigest() != record["sha256"]:
        _log.info("%s is damaged; it is made anew from the archive", path)
        return None
    records = np.frombuffer(content, RECORD, num_images, offset=len(header))
    labels_N = records["label"].astype(np.int64)
    return ImageArrays(records["pixels"], labels_N, records["colour_sums"])


def _keep_arrays(layout: CifarLayout, split: str, arrays: ImageArrays, archive_sha256: str) -> None:
    """Write the arrays and their hash; do without where that is impossible.

    Processes that do so at once write the same bytes; an array file beside the hash of another is
    taken for damaged.
    """
    content = _content(arrays)
    record = _record(archive_sha256, len(arrays), hashlib.sha256(content).hexdigest())
    try:
        atomic_write(array_path(layout, split), content)
        atomic_write(record_path(layout, split), json.dumps(record).encode())
    except AlexnetError as error:
        _log.info("the arrays of %s are not kept: %s", layout.name, error.message)


def _record(archive_sha256: str, num_images: int, sha256: str) -> dict[str, Any]:
    """Return what stands beside an array file: `sha256` is of that file, its header included."""
    return {
        "schema": SCHEMA,
        "sha256": sha256,
        "archive_sha256": archive_sha256,
        "num_images": num_images,
    }


def _content(arrays: ImageArrays) -> bytes:
    records = np.empty(len(arrays), RECORD)
    records["pixels"] = arrays.images_NHWC
    records["colour_sums"] = colour_sums(arrays.images_NHWC)
    records["label"] = arrays.labels_N
    return b"".join((_header(len(arrays)), records.view(np.uint8).data))


def _header(num_images: int) -> bytes:
    """Return what an npy file of so many records begins with."""
    header = io.BytesIO()
    described = {
        "descr": np.lib.format.dtype_to_descr(RECORD),
        "fortran_order": False,
        "shape": (num_images,),
    }
    np.lib.format.write_array_header_1_0(header, described)
    return header.getvalue()
