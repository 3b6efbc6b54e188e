"""The cache folder's contents, on real files."""

import hashlib
import json
import shutil

import numpy as np

from alexnet_cli.data.datasets import CIFAR10_ARCHIVE
from alexnet_cli.data.inventory import Kind, State, list_cache, verify_cache
from alexnet_cli.files import cache_folder
from alexnet_cli.run_folder import SAFETENSORS_NAME, pretrained_folder


def write(name, content=b"content"):
    path = cache_folder() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def take_archive(content=b"images"):
    """Put an archive that a user trusts into the cache folder."""
    CIFAR10_ARCHIVE.hash_path.parent.mkdir(parents=True, exist_ok=True)
    CIFAR10_ARCHIVE.hash_path.write_text(hashlib.sha256(content).hexdigest() + "\n")
    CIFAR10_ARCHIVE.path.write_bytes(content)


def write_array(name="arrays/cifar10-train.npy"):
    path = write(name)
    np.save(path, np.arange(6))
    recorded = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    path.with_suffix(".json").write_text(json.dumps(recorded))
    return path


def states(entries):
    return {str(entry.path.relative_to(cache_folder())): entry.state for entry in entries}


def verified():
    return states(verify_cache())


def test_an_empty_or_missing_folder_lists_what_could_be_there():
    entries = {entry.name: entry for entry in list_cache()}
    assert entries["cifar10"].state is State.ABSENT
    assert entries["cifar10"].fix == "alexnet download --data cifar10"
    assert entries["owt"].fix == "alexnet download --weights owt"
    assert all(entry.num_bytes == 0 for entry in entries.values())
    assert set(verified().values()) == {State.ABSENT}


def test_every_file_is_listed_once_with_its_kind_and_size():
    take_archive()
    write("kernels/lrn-0123.so")
    write("cifar-100-binary.tar.gz.0123456789ab.part")
    write("kernels/.alexnet-xyz/lrn.o")
    write("weights/alexnet-owt/.model.safetensors.abc.part")
    write_array()
    write("note.txt")
    entries = list_cache()
    there = [entry for entry in entries if entry.state is not State.ABSENT]
    files = [path for path in cache_folder().rglob("*") if path.is_file()]
    assert sorted(entry.path for entry in there) == sorted(files)
    assert sum(entry.num_bytes for entry in entries) == sum(path.stat().st_size for path in files)
    kinds = {str(entry.path.relative_to(cache_folder())): entry.kind for entry in there}
    assert kinds == {
        "cifar-10-binary.tar.gz": Kind.DATASET,
        "cifar-10-binary.tar.gz.sha256": Kind.OTHER,
        "kernels/lrn-0123.so": Kind.KERNEL,
        "cifar-100-binary.tar.gz.0123456789ab.part": Kind.UNFINISHED,
        "kernels/.alexnet-xyz/lrn.o": Kind.UNFINISHED,
        "weights/alexnet-owt/.model.safetensors.abc.part": Kind.UNFINISHED,
        "arrays/cifar10-train.npy": Kind.ARRAYS,
        "arrays/cifar10-train.json": Kind.OTHER,
        "note.txt": Kind.OTHER,
    }


def test_listing_looks_at_the_size_alone():
    write(CIFAR10_ARCHIVE.name)
    assert states(list_cache())[CIFAR10_ARCHIVE.name] is State.DAMAGED
    with CIFAR10_ARCHIVE.path.open("r+b") as file:
        file.truncate(CIFAR10_ARCHIVE.num_bytes)  # sparse: takes no space
    assert states(list_cache())[CIFAR10_ARCHIVE.name] is State.COMPLETE


def test_a_changed_byte_of_a_dataset_is_damage():
    take_archive()
    assert verified()[CIFAR10_ARCHIVE.name] is State.OK
    CIFAR10_ARCHIVE.path.write_bytes(b"imagez")
    assert verified()[CIFAR10_ARCHIVE.name] is State.DAMAGED
    (entry,) = [entry for entry in verify_cache() if entry.path == CIFAR10_ARCHIVE.path]
    assert entry.fix == "alexnet download --data cifar10 --force"


def test_damaged_weights_are_found_by_the_hash_in_their_header(exported):
    path = pretrained_folder("owt") / SAFETENSORS_NAME
    path.parent.mkdir(parents=True)
    shutil.copy(exported.whole / SAFETENSORS_NAME, path)
    name = str(path.relative_to(cache_folder()))
    assert verified()[name] is State.OK
    sound = path.read_bytes()
    length = int.from_bytes(sound[:8], "little")
    for place in (0, 7, 8, 8 + length, len(sound) // 2, len(sound) - 1):
        damaged = bytearray(sound)
        damaged[place] ^= 0x40
        path.write_bytes(damaged)
        assert verified()[name] is State.DAMAGED, place
    for size in (0, 5, 8, 8 + length, len(sound) - 1):
        path.write_bytes(sound[:size])
        assert verified()[name] is State.DAMAGED, size


def test_an_array_has_the_hash_beside_it():
    path = write_array()
    name = str(path.relative_to(cache_folder()))
    assert verified()[name] is State.OK
    for beside in ("{}", "[]", "not json", '{"sha256": 5}'):
        path.with_suffix(".json").write_text(beside)
        assert verified()[name] is State.DAMAGED
    path.with_suffix(".json").unlink()
    assert verified()[name] is State.DAMAGED
    write_array()
    path.write_bytes(path.read_bytes() + b"\0")
    assert verified()[name] is State.DAMAGED


def test_progress_counts_every_byte_once(exported):
    take_archive(b"x" * 3_000_000)
    write_array()
    path = pretrained_folder("owt") / SAFETENSORS_NAME
    path.parent.mkdir(parents=True)
    shutil.copy(exported.whole / SAFETENSORS_NAME, path)
    counted = []
    entries = list(verify_cache(counted.append))
    assert sum(counted) == sum(entry.num_bytes for entry in entries)
