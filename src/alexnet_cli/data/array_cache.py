"""Arrays unpacked from a CIFAR archive, so that a run need not unpack it again.

One file per split, so that training never opens the test images: `NAME-train.npy` is an array of
records (pixels, sums of colours, label), `NAME-train.json` holds its hash and that of the archive.
They are hashed at every start, and rebuilt unless they are exactly what was written for this
archive. The file is memory-mapped: processes share its pages.
"""

import hashlib
import json
import logging
import mmap
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_cli.data.arrays import ImageArrays, colour_sums
from alexnet_cli.data.cache import PublishedFile, find_file, recorded_hash
from alexnet_cli.data.cifar import IMAGE_SIZE, CifarLayout, read_archive
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
_MAX_JSON_BYTES = 4096
_log = logging.getLogger(__name__)


def load_arrays(archive: PublishedFile, layout: CifarLayout, split: str) -> ImageArrays:
    """Return one split of a CIFAR archive in the cache folder.

    They are returned even if they cannot be kept (a full disk, a read-only folder).

    Args:
        archive: The archive; need not be there if its arrays are.
        layout: What it holds.
        split: `TRAIN` or `TEST`.

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
    return train if split == TRAIN else test


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
    return ImageArrays(records["pixels"], labels_N, records["colour_sums"])


def _keep_arrays(layout: CifarLayout, split: str, arrays: ImageArrays, archive_sha256: str) -> None:
    """Write the arrays and their hash, if that is possible.

    Processes that do so at once write the same bytes; an array file beside the hash of another
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
