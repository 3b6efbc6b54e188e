"""Hashes of images by content: the bytes of a file, or the pixels of an array.

Images of one hash are the same image, whatever their names and wherever they are. The hashes are
kept in the cache folder, `hashes/`: those of a folder's files with the size and times of each file,
so that only new and changed files are read again. Shape letters: N images.
"""

import hashlib
import io
import logging
import os
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.console import ByteProgress
from alexnet_cli.devices import num_cores
from alexnet_cli.errors import AlexnetError, DataError
from alexnet_cli.files import atomic_write, cache_folder

Hashes = NDArray[np.uint64]

FOLDER = "hashes"  # in the cache folder
_ROW = np.dtype([
    ("path", "<u8"), ("size", "<u8"), ("mtime_ns", "<i8"), ("ctime_ns", "<i8"), ("hash", "<u8"),
])  # fmt: skip
_KNOWN_BY = ["path", "size", "mtime_ns", "ctime_ns"]
# A file that changed this recently may change again without a change of its times.
_SETTLED_NS = 2_000_000_000
_READ_AT_ONCE = 4096  # files: a thread's task for each takes memory
_SHOWN_BYTES = 256 << 20  # with more to read, there is a progress bar
# What `zipfile` and NumPy raise on a damaged file; `NotImplementedError` is a `RuntimeError`.
_DAMAGE = (
    OSError, ValueError, KeyError, EOFError, RuntimeError, MemoryError, OverflowError, TypeError,
    struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_log = logging.getLogger(__name__)


def hash_pixels(images_NHWC: NDArray[np.uint8]) -> Hashes:
    return _join(_digest(np.ascontiguousarray(image).data) for image in images_NHWC)


def hash_files(root: Path, names_N: NDArray[np.object_]) -> Hashes:
    """Return the hashes of files below a folder; read only those that are new or have changed.

    Raises:
        DataError: A file cannot be read.
    """
    path = _cache_path(_digest(os.fsencode(root.resolve())).hex())
    found = read_arrays(path, {"files": _ROW})
    known = found["files"] if found else np.empty(0, _ROW)
    rows_N = np.empty(len(names_N), _ROW)
    for index, name in enumerate(names_N):
        status = _stat(root / name)
        key = int.from_bytes(_digest(os.fsencode(name)), "little")
        rows_N[index] = (key, status.st_size, status.st_mtime_ns, status.st_ctime_ns, 0)
    is_hashed_N = _look_up(rows_N, known)
    if is_hashed_N.all():
        return rows_N["hash"].astype(np.uint64)
    changed_N = np.maximum(rows_N["mtime_ns"], rows_N["ctime_ns"])
    is_settled_N = changed_N < time.time_ns() - _SETTLED_NS
    try:
        _read_files(root, names_N, rows_N, is_hashed_N)
    finally:  # interrupted, it continues from here the next time
        others = known[~are_among(known["path"], rows_N["path"])]  # as of validation images
        _keep(path, files=np.concatenate([others, rows_N[is_hashed_N & is_settled_N]]))
    return rows_N["hash"].astype(np.uint64)


def _read_files(
    root: Path,
    names_N: NDArray[np.object_],
    rows_N: NDArray[np.void],
    is_hashed_N: NDArray[np.bool_],
) -> None:
    """Fill in the hashes that are not known yet, in threads."""
    unread = np.flatnonzero(~is_hashed_N)
    total = int(rows_N["size"][unread].sum())
    bar = ByteProgress("hashing images", total=total, quiet=total < _SHOWN_BYTES)
    try:
        with ThreadPoolExecutor(num_cores(), thread_name_prefix="hashes") as pool:
            for start in range(0, len(unread), _READ_AT_ONCE):
                some = unread[start : start + _READ_AT_ONCE]
                paths = [root / names_N[index] for index in some]
                rows_N["hash"][some] = list(pool.map(partial(_hash_file, bar=bar), paths))
                is_hashed_N[some] = True
    finally:
        bar.close()


def _look_up(rows_N: NDArray[np.void], known: NDArray[np.void]) -> NDArray[np.bool_]:
    """Fill in the hashes of files that are as they were, and return which they are."""
    if not len(known):
        return np.zeros(len(rows_N), bool)
    known = known[np.argsort(known["path"])]
    places_N = np.minimum(np.searchsorted(known["path"], rows_N["path"]), len(known) - 1)
    is_known_N: NDArray[np.bool_] = rows_N[_KNOWN_BY] == known[places_N][_KNOWN_BY]
    rows_N["hash"][is_known_N] = known["hash"][places_N[is_known_N]]
    return is_known_N


def are_among(hashes_N: Hashes, others: Hashes) -> NDArray[np.bool_]:
    """Return which hashes are among others; NumPy's `isin` takes thirty times as long."""
    if not len(others):
        return np.zeros(len(hashes_N), bool)
    others = np.sort(others)
    places_N = np.minimum(np.searchsorted(others, hashes_N), len(others) - 1)
    found_N: NDArray[np.bool_] = others[places_N] == hashes_N
    return found_N


def kept_hashes(name: str, make: Callable[[], Hashes]) -> Hashes:
    """Return the hashes kept under a name, which stands for one content, or make and keep them."""
    path = _cache_path(name)
    found = read_arrays(path, {"hashes": np.dtype("<u8")})
    if found is not None:
        return found["hashes"].astype(np.uint64)
    hashes_N = make()
    _keep(path, hashes=hashes_N.astype("<u8"))
    return hashes_N


def to_npz(**arrays: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


def read_arrays(path: Path, dtypes: dict[str, np.dtype[Any]]) -> dict[str, NDArray[Any]] | None:
    """Return the arrays (N,) of a file of `to_npz`; None if it is missing or damaged (CRC)."""
    try:
        with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
            arrays = {name: file[name] for name in dtypes}
    except FileNotFoundError:
        return None
    except _DAMAGE as error:
        _log.info("%s is damaged: %s", path, error)
        return None
    shapes = {array.shape for array in arrays.values()}
    is_sound = len(shapes) == 1 and len(shapes.pop()) == 1
    return arrays if is_sound and all(arrays[n].dtype == dtypes[n] for n in dtypes) else None


def _keep(path: Path, **arrays: NDArray[Any]) -> None:
    try:
        atomic_write(path, to_npz(**arrays))
    except AlexnetError as error:  # they are computed again the next time
        _log.info("hashes are not kept: %s", error.message)


def _cache_path(name: str) -> Path:
    return cache_folder() / FOLDER / f"{name}.npz"


def _digest(content: bytes | memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=8).digest()


def _join(digests: Iterable[bytes]) -> Hashes:
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error


def _hash_file(path: Path, bar: ByteProgress) -> int:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, partial(hashlib.blake2b, digest_size=8)).digest()
            bar.update(file.tell())
    except OSError as error:
        raise _unreadable(path, error) from error
    return int.from_bytes(digest, "little")


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"cannot read {path} ({error.strerror or error})",
        hint=f"replace or delete {path}",
        code="image_unreadable",
    )
