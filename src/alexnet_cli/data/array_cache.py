"""The arrays of an archive, kept beside it so that a run starts without unpacking it again.

One file a split, so that training never opens the test images: `NAME-train.npy`, an array of
records (pixels, sums of colours, label), and `NAME-train.json` with its hash and that of the
archive. All of it is hashed at every start; what is not exactly what was written for this archive
is built anew. The file is mapped, not read: processes on one machine share its pages.
"""

import hashlib
import io
import json
import logging
import mmap
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_cli.data.arrays import ImageArrays, colour_sums
from alexnet_cli.data.cifar import read_archive
from alexnet_cli.data.cifar_layouts import IMAGE_SIZE, CifarLayout
from alexnet_cli.data.published import PublishedFile
from alexnet_cli.data.store import find_file, recorded_hash
from alexnet_cli.errors import AlexnetError
from alexnet_cli.files import atomic_write, cache_folder

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
