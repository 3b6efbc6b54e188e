"""What is in the cache folder, and whether it is still what it was when it came in."""

import json
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from alexnet_cli.data.cache import recorded_hash
from alexnet_cli.data.datasets import DATASETS
from alexnet_cli.files import cache_folder, sha256_of
from alexnet_cli.manifest import verify_weights_hash
from alexnet_cli.networks import PRETRAINED
from alexnet_cli.runs import SAFETENSORS_NAME, pretrained_folder

_KERNELS = "kernels"
_PART_SUFFIX, _TEMPORARY_PREFIX = ".part", ".alexnet-"

OnBytes = Callable[[int], None]


class Kind(StrEnum):
    """What a file in the cache folder is."""

    DATASET = "dataset"
    ARRAYS = "array cache"
    WEIGHTS = "weights"
    KERNEL = "kernel"
    UNFINISHED = "unfinished"
    OTHER = "other"


HASHED = (Kind.DATASET, Kind.WEIGHTS, Kind.ARRAYS)
"""What has a recorded hash, and `verify_cache` looks at."""


class State(StrEnum):
    """What is known of a file."""

    COMPLETE = "complete"  # the size is right; the content was not looked at
    OK = "ok"  # the content is right
    DAMAGED = "damaged"
    ABSENT = "absent"
    UNKNOWN = ""  # nothing to compare with


@dataclass(frozen=True)
class Entry:
    """A file in the cache folder, or one that could be there.

    Attributes:
        kind: What it is.
        name: What commands call it.
        path: Where it is, or would be.
        num_bytes: Its size; 0 when absent.
        state: What is known of it.
        repair: The command that brings it back, where there is one.
    """

    kind: Kind
    name: str
    path: Path
    num_bytes: int
    state: State
    repair: str = ""


def list_cache() -> list[Entry]:
    """List what is in the cache folder, and what could be; opens no file.

    Returns:
        Datasets and weights, there or not, then everything else by kind and path.
    """
    sizes = _file_sizes(cache_folder())
    entries = [*_dataset_entries(sizes), *_weights_entries(sizes)]
    known = {entry.path for entry in entries}
    others = [_other_entry(path, size) for path, size in sizes.items() if path not in known]
    order = list(Kind)
    return entries + sorted(others, key=lambda entry: (order.index(entry.kind), entry.path))


def _file_sizes(folder: Path) -> dict[Path, int]:
    sizes = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            try:
                sizes[path] = path.lstat().st_size
            except FileNotFoundError:  # another process has just finished with it
                continue
    return sizes


def _dataset_entries(sizes: dict[Path, int]) -> Iterator[Entry]:
    for name, dataset in DATASETS.items():
        for file in dataset.files:
            size = sizes.get(file.path)
            if size is None:
                state = State.ABSENT
            elif size == file.num_bytes or file.hash_path in sizes:  # or a file of the user's own
                state = State.COMPLETE
            else:
                state = State.DAMAGED
            repair = file.command + ("" if size is None else " --force")
            yield Entry(Kind.DATASET, name, file.path, size or 0, state, repair)


def _weights_entries(sizes: dict[Path, int]) -> Iterator[Entry]:
    for name in PRETRAINED:
        path = pretrained_folder(name) / SAFETENSORS_NAME
        size = sizes.get(path)
        state = State.ABSENT if size is None else State.COMPLETE
        repair = f"alexnet download --weights {name}" + ("" if size is None else " --force")
        yield Entry(Kind.WEIGHTS, name, path, size or 0, state, repair)


def _other_entry(path: Path, num_bytes: int) -> Entry:
    below = path.relative_to(cache_folder())
    kind, repair = Kind.OTHER, ""
    if path.suffix == _PART_SUFFIX or any(
        part.startswith(_TEMPORARY_PREFIX) for part in below.parts
    ):
        kind = Kind.UNFINISHED
    elif path.suffix == ".npy":
        kind, repair = Kind.ARRAYS, f"rm -- {shlex.quote(str(path))}"  # it is made again
    elif below.parts[0] == _KERNELS:
        kind = Kind.KERNEL
    return Entry(kind, str(below), path, num_bytes, State.UNKNOWN, repair)


def verify_cache(on_bytes: OnBytes = lambda _: None) -> Iterator[Entry]:
    """Compare with its recorded hash whatever has one.

    Args:
        on_bytes: Called with the number of bytes after each chunk.

    Yields:
        Datasets, weights and array caches, each ok, damaged or absent.
    """
    published = {file.path: file for dataset in DATASETS.values() for file in dataset.files}
    for entry in list_cache():
        if entry.kind not in HASHED:
            continue
        if entry.state is State.ABSENT:
            yield entry
            continue
        if entry.kind is Kind.DATASET:
            is_sound = sha256_of(entry.path, on_bytes) == recorded_hash(published[entry.path])
        elif entry.kind is Kind.WEIGHTS:
            is_sound = verify_weights_hash(entry.path, on_bytes)
        else:
            is_sound = _is_sound_array(entry.path, on_bytes)
        yield replace(entry, state=State.OK if is_sound else State.DAMAGED)


def _is_sound_array(path: Path, on_bytes: OnBytes) -> bool:
    """Tell whether an array has the hash that the JSON beside it names."""
    try:
        recorded = json.loads(path.with_suffix(".json").read_bytes())["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False  # without it, the array may be anything
    return bool(sha256_of(path, on_bytes) == recorded)
