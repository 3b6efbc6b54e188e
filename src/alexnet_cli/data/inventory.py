"""Inventory of the cache folder, and verification of its checksums."""

import json
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path

from alexnet_cli.data import content
from alexnet_cli.data.cache import TEST, TRAIN, PublishedFile, recorded_hash
from alexnet_cli.data.datasets import DATASETS, find_dataset
from alexnet_cli.data.folder import ImageFolder
from alexnet_cli.data.run_images import count_identical
from alexnet_cli.files import cache_folder, sha256_of
from alexnet_cli.manifest import verify_weights_hash
from alexnet_cli.networks import PRETRAINED
from alexnet_cli.run_folder import SAFETENSORS_NAME, pretrained_folder

OnBytes = Callable[[int], None]
"""Called with the number of bytes hashed, after each chunk."""


class Kind(StrEnum):
    DATASET = "dataset"
    ARRAYS = "array cache"
    WEIGHTS = "weights"
    KERNEL = "kernel"
    HASHES = "image hashes"
    UNFINISHED = "unfinished"
    OTHER = "other"


class State(StrEnum):
    COMPLETE = "complete"  # the size is right; the content was not read
    OK = "ok"  # the content is right
    DAMAGED = "damaged"
    ABSENT = "absent"
    UNKNOWN = ""  # nothing to compare with


@dataclass(frozen=True)
class Entry:
    """A file in the cache folder, or one that could be there."""

    kind: Kind
    name: str  # as commands call it
    path: Path
    num_bytes: int  # 0 if absent
    state: State
    fix: str = ""  # the command that restores it, if there is one
    verify: Callable[[OnBytes], bool] | None = None  # compares it with its recorded hash


def list_cache() -> list[Entry]:
    """List what is in the cache folder, and what could be; opens no file.

    Returns:
        Datasets and weights, there or not, then everything else by kind and path.
    """
    sizes = _file_sizes(cache_folder())
    entries = []
    for name, dataset in DATASETS.items():
        for file in dataset.files:
            size = sizes.pop(file.path, None)
            # The size of other content, which the user trusts, is not known.
            is_complete = size == file.num_bytes or file.hash_path in sizes
            entry = Entry(
                Kind.DATASET, name, file.path, size or 0,
                State.COMPLETE if is_complete else State.DAMAGED,
                f"{file.command} --force", partial(_is_sound_file, file),
            )  # fmt: skip
            entries.append(entry if size is not None else _absent(entry, file.command))
    for name in PRETRAINED:
        path = pretrained_folder(name) / SAFETENSORS_NAME
        command = f"alexnet download --weights {name}"
        size = sizes.pop(path, None)
        entry = Entry(
            Kind.WEIGHTS, name, path, size or 0, State.COMPLETE,
            f"{command} --force", partial(verify_weights_hash, path),
        )  # fmt: skip
        entries.append(entry if size is not None else _absent(entry, command))
    others = [_other_entry(path, size) for path, size in sizes.items()]
    order = list(Kind)
    return entries + sorted(others, key=lambda entry: (order.index(entry.kind), entry.path))


def verify_cache(on_bytes: OnBytes = lambda _: None) -> Iterator[Entry]:
    """Yield the datasets, weights and array caches, each ok, damaged or absent."""
    for entry in list_cache():
        if entry.state is State.ABSENT:
            yield entry
        elif entry.verify is not None:
            yield replace(entry, state=State.OK if entry.verify(on_bytes) else State.DAMAGED)


def unpacked_datasets(entries: list[Entry]) -> list[str]:
    """Return the datasets whose arrays, of training and test images, are in the cache folder."""
    sound = {entry.path.name for entry in entries if entry.state is State.OK}
    return [n for n in DATASETS if {f"{n}-{split}.npy" for split in (TRAIN, TEST)} <= sound]


def count_identical_in(data: str) -> dict[str, int | None]:
    """Count byte-identical images of a dataset's splits; files of a folder are opened.

    Raises:
        AlexnetError: It cannot be read, or has no training images.
    """
    dataset = find_dataset(data)
    train, val = dataset.load_train(), dataset.load_val()
    for part in (train, val):
        if isinstance(part, ImageFolder):
            part.require_headers()
    return count_identical(
        train.hashes(), None if val is None else val.hashes(), dataset.hash_test()
    )


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


def _absent(entry: Entry, fix: str) -> Entry:
    return replace(entry, state=State.ABSENT, fix=fix)


def _other_entry(path: Path, num_bytes: int) -> Entry:
    below = path.relative_to(cache_folder())
    entry = Entry(Kind.OTHER, str(below), path, num_bytes, State.UNKNOWN)
    if path.suffix == ".part" or any(part.startswith(".alexnet-") for part in below.parts):
        return replace(entry, kind=Kind.UNFINISHED)
    if below.parts[0] == content.FOLDER:
        return replace(entry, kind=Kind.HASHES)
    if path.suffix == ".npy":
        fix = f"rm -- {shlex.quote(str(path))}"  # it is built again
        return replace(entry, kind=Kind.ARRAYS, fix=fix, verify=partial(_is_sound_array, path))
    return replace(entry, kind=Kind.KERNEL) if below.parts[0] == "kernels" else entry


def _is_sound_file(file: PublishedFile, on_bytes: OnBytes) -> bool:
    return sha256_of(file.path, on_bytes) == recorded_hash(file)


def _is_sound_array(path: Path, on_bytes: OnBytes) -> bool:
    """Compare an array with the hash in its JSON file."""
    try:
        recorded = json.loads(path.with_suffix(".json").read_bytes())["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False  # without it, the array may be anything
    return bool(sha256_of(path, on_bytes) == recorded)
