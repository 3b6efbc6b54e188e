import dataclasses
import gzip
import io
import os
import pickle
import struct
import tarfile
import tracemalloc

import numpy as np
import pytest

from alexnet_cli.data.cifar import CIFAR10, CIFAR100, read_archive
from alexnet_cli.errors import DataError

BINARY = [*(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6))]
BINARY += ["cifar-10-batches-bin/test_batch.bin"]
PYTHON = [*(f"cifar-10-batches-py/data_batch_{i}" for i in range(1, 6))]
PYTHON += ["cifar-10-batches-py/test_batch"]
LABELS = [i % 10 for i in range(10_000)]


def write_tar(path, members):
    """Write members, given as bytes or as a TarInfo without content."""
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def pixels_of(number):
    """10,000 rows as the archives hold them: a red, a green and a blue plane of 32 × 32."""
    pixels = np.zeros((10_000, 3072), np.uint8)
    pixels[:, :1024] = np.array(LABELS)[:, None] * 10 + number  # red: class and file
    pixels[:, 1024:2048] = 7
    pixels[:, 2048:] = np.arange(1024) % 32  # blue: column
    return pixels


def assert_is_what_was_written(arrays, numbers):
    assert len(arrays) == 10_000 * len(numbers)
    assert arrays.images_NHWC.shape == (len(arrays), 32, 32, 3)
    assert arrays.images_NHWC.dtype == np.uint8
    assert arrays.labels_N.dtype == np.int64
    np.testing.assert_array_equal(arrays.labels_N, LABELS * len(numbers))
    for place, number in enumerate(numbers):
        part = arrays.images_NHWC[place * 10_000 : (place + 1) * 10_000]
        red = np.array(LABELS)[:, None, None] * 10 + number
        assert (part[..., 0] == red).all()
        assert (part[..., 1] == 7).all()
        assert (part[..., 2] == np.arange(32)).all()


def protocol_2(pixels, labels):
    return pickle.dumps({b"data": pixels, b"labels": labels}, protocol=2)


def as_python_2_wrote_it(pixels, labels):
    """The opcodes of the official archive: byte strings, and numpy's module as named then."""
    state = b"(K\x01M\x10'M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
    state += b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    state += b"T" + struct.pack("<i", pixels.nbytes) + pixels.tobytes() + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R" + state
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(U\x04data" + array + b"U\x06labels" + numbers + b"u."


def test_the_binary_layout_is_read_in_order(tmp_path):
    labels = np.array(LABELS, np.uint8)[:, None]
    members = {name: np.hstack([labels, pixels_of(i)]).tobytes() for i, name in enumerate(BINARY)}
    members["cifar-10-batches-bin/readme.html"] = b"ignored"
    # The order in the archive does not matter, the names do.
    shuffled = dict(sorted(members.items(), reverse=True))
    train, test = read_archive(write_tar(tmp_path / "a.tar.gz", shuffled))
    assert_is_what_was_written(train, [0, 1, 2, 3, 4])
    assert_is_what_was_written(test, [5])


def test_the_python_layout_is_read_in_order_however_it_was_pickled(tmp_path):
    members = {name: protocol_2(pixels_of(i), LABELS) for i, name in enumerate(PYTHON[:3])}
    for i, name in enumerate(PYTHON[3:], start=3):
        members[name] = as_python_2_wrote_it(pixels_of(i), LABELS)
    train, test = read_archive(write_tar(tmp_path / "a.tar.gz", members))
    assert_is_what_was_written(train, [0, 1, 2, 3, 4])
    assert_is_what_was_written(test, [5])


TINY_100 = dataclasses.replace(CIFAR100, train_images=7, test_images=3)
FINE = [0, 99, 5, 41, 98, 1, 7]


def tiny_100(*, kind):
    """The members of a small CIFAR-100 archive; the coarse labels would be wrong classes."""
    members = {}
    for name, count in (("train", 7), ("test", 3)):
        pixels, fine = pixels_of(len(name))[:count], FINE[:count]
        if kind == "binary":
            coarse = np.full((count, 1), 19, np.uint8)
            records = np.hstack([coarse, np.array(fine, np.uint8)[:, None], pixels])
            members[f"cifar-100-binary/{name}.bin"] = records.tobytes()
        else:
            batch = {b"data": pixels, b"coarse_labels": [19] * count, b"fine_labels": fine}
            members[f"cifar-100-python/{name}"] = pickle.dumps(batch, protocol=2)
    return members


@pytest.mark.parametrize("kind", ["binary", "python"])
def test_cifar_100_is_read_with_its_fine_labels(tmp_path, kind):
    path = write_tar(tmp_path / "a.tar.gz", tiny_100(kind=kind))
    for arrays, number in zip(read_archive(path, TINY_100), (5, 4), strict=True):
        assert arrays.labels_N.tolist() == FINE[: len(arrays)]
        assert arrays.labels_N.dtype == np.int64
        red = np.array(LABELS)[: len(arrays), None, None] * 10 + number
        assert (arrays.images_NHWC[..., 0] == red).all()
        assert (arrays.images_NHWC[..., 2] == np.arange(32)).all()


def test_fine_label_100_is_refused(tmp_path):
    members = tiny_100(kind="binary")
    content = bytearray(members["cifar-100-binary/test.bin"])
    content[1] = 100
    members["cifar-100-binary/test.bin"] = bytes(content)
    with pytest.raises(DataError, match="labels outside 0–99") as caught:
        read_archive(write_tar(tmp_path / "a.tar.gz", members), TINY_100)
    assert caught.value.hint == ("fetch it again with: alexnet download --data cifar100 --force")


def test_an_archive_of_the_other_dataset_is_refused(tmp_path):
    path = write_tar(tmp_path / "a.tar.gz", tiny_100(kind="binary"))
    broken(path, "is not a CIFAR-10 archive", "neither all of cifar-10-batches-bin/")


def test_there_are_a_hundred_classes_in_the_official_order():
    assert len(set(CIFAR100.classes)) == 100
    assert list(CIFAR100.classes) == sorted(CIFAR100.classes)
    assert [CIFAR100.classes[i] for i in (0, 50, 99)] == ["apple", "mouse", "worm"]


def test_there_are_ten_classes_in_the_official_order():
    assert len(set(CIFAR10.classes)) == 10
    assert [CIFAR10.classes[i] for i in (0, 3, 9)] == ["airplane", "cat", "truck"]


def broken(path, *words):
    with pytest.raises(DataError) as caught:
        read_archive(path)
    assert caught.value.code == "archive_invalid"
    assert "alexnet download --data cifar10 --force" in caught.value.hint
    for word in (str(path), *words):
        assert word in caught.value.message


def write_with_first(tmp_path, first, names=BINARY):
    """Write an archive that can only fail at its first member: it is decoded first."""
    return write_tar(tmp_path / "a.tar.gz", dict.fromkeys(names, b"") | {names[0]: first})


@pytest.mark.parametrize("num_records", [0, 9_999, 10_001])
def test_a_wrong_number_of_records_is_refused(tmp_path, num_records):
    path = write_with_first(tmp_path, bytes(num_records * 3073))
    broken(path, BINARY[0], f"has {num_records * 3073} bytes, expected 30730000")


def test_half_a_record_is_refused(tmp_path):
    broken(write_with_first(tmp_path, bytes(10_000 * 3073 - 1)), BINARY[0], "30729999")


def test_label_10_is_refused(tmp_path):
    content = bytearray(10_000 * 3073)
    content[3073 * 9_999] = 9
    content[3073 * 5_000] = 10
    broken(write_with_first(tmp_path, bytes(content)), BINARY[0], "labels outside 0–9")


@pytest.mark.parametrize("layout", [BINARY, PYTHON], ids=["binary", "python"])
@pytest.mark.parametrize("missing", [0, 4, 5])
def test_a_missing_member_is_refused(tmp_path, layout, missing):
    members = dict.fromkeys(layout, b"")
    del members[layout[missing]]
    broken(write_tar(tmp_path / "a.tar.gz", members), "neither all of", "nor all of")


@pytest.mark.parametrize(
    ("pixels", "labels", "words"),
    [
        (np.zeros((9_999, 3072), np.uint8), LABELS, "pixels of shape (10000, 3072)"),
        (np.zeros((10_000, 3072), np.bool_), LABELS, "uint8 pixels"),
        ([[0] * 3072], LABELS, "uint8 pixels"),
        (np.zeros((10_000, 3072), np.uint8), LABELS[:-1], "10000 labels"),
        (np.zeros((10_000, 3072), np.uint8), [0.5] * 10_000, "10000 labels"),
        (np.zeros((10_000, 3072), np.uint8), [-1, *LABELS[1:]], "labels outside 0–9"),
        (np.zeros((10_000, 3072), np.uint8), [10, *LABELS[1:]], "labels outside 0–9"),
    ],
    ids=["rows", "dtype", "list", "label count", "label type", "label -1", "label 10"],
)
def test_a_pickle_of_something_else_is_refused(tmp_path, pixels, labels, words):
    path = write_with_first(tmp_path, protocol_2(pixels, labels), PYTHON)
    broken(path, PYTHON[0], words)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        pickle.dumps([1, 2]),
        pickle.dumps({b"data": 1}),
        protocol_2(np.zeros((10, 3072), np.uint8), LABELS)[:-20_000],
        b"\x80\x02" + b"]" * 100,
    ],
    ids=["empty", "text", "list", "no labels", "cut", "no end"],
)
def test_a_damaged_pickle_is_refused(tmp_path, content):
    broken(write_with_first(tmp_path, content, PYTHON), PYTHON[0], "cannot be read")


class Calls:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("function", [os.system, eval], ids=["os.system", "eval"])
def test_a_pickle_cannot_run_a_program(tmp_path, function, protocol):
    canary = tmp_path / "canary"
    if function is os.system:
        program = Calls(os.system, f"touch {canary}")
    else:
        program = Calls(eval, f"open({str(canary)!r}, 'w').close()")
    content = pickle.dumps({b"data": program, b"labels": LABELS}, protocol=protocol)
    broken(write_with_first(tmp_path, content, PYTHON), PYTHON[0], "it asks for")
    assert not canary.exists()
    pickle.loads(content)  # noqa: S301 (the bait works where nothing guards it)
    assert canary.exists()


@pytest.mark.parametrize("dotted", ["dtype.__class__", "ndarray.tofile"])
def test_a_dotted_name_does_not_reach_past_the_allowed_ones(tmp_path, dotted):
    content = b"\x80\x04\x8c\x05numpy\x8c" + bytes([len(dotted)]) + dotted.encode() + b"\x93."
    broken(write_with_first(tmp_path, content, PYTHON), f"it asks for numpy.{dotted}")


@pytest.fixture(scope="module")
def noisy_archive(tmp_path_factory):
    """A layout that is read to its end, of incompressible bytes so that every cut hits content."""
    content = np.random.default_rng(0).bytes(50_000)
    path = tmp_path_factory.mktemp("noisy") / "whole.tar.gz"
    return write_tar(path, dict.fromkeys(BINARY, content))


@pytest.mark.parametrize("share", [0, 0.00001, 0.0001, 0.01, 0.2, 0.5, 0.8, 0.99])
def test_a_truncated_archive_is_refused(tmp_path, noisy_archive, share):
    whole = noisy_archive.read_bytes()
    broken(noisy_archive, "has 50000 bytes")  # whole, it fails only for its small members
    path = tmp_path / "cut.tar.gz"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError) as caught:
        read_archive(path)
    assert "bytes, expected" not in caught.value.message


@pytest.mark.parametrize("place", [3, 5_000, 150_000])
def test_a_damaged_archive_is_refused(tmp_path, noisy_archive, place):
    content = bytearray(noisy_archive.read_bytes())
    content[place : place + 40] = b"\xff" * 40
    path = tmp_path / "damaged.tar.gz"
    path.write_bytes(content)
    broken(path)


@pytest.mark.parametrize("content", [b"", b"<html>Not found</html>", b"PK\x03\x04"])
def test_what_is_no_gzip_compressed_tar_is_refused(tmp_path, content):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(content)
    broken(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    broken(tmp_path / "missing.tar.gz", "No such file")
    broken(tmp_path)


def link(name, kind, target):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_hostile_members_write_nothing_and_read_nothing_outside(tmp_path, isolated):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(10_000 * 3073))  # would be a valid batch
    members = dict.fromkeys(BINARY[1:], bytes(10_000 * 3073))
    members |= {
        "../../escaped": b"x",
        str(tmp_path / "absolute"): b"x",
        "cifar-10-batches-bin/../../climbed": b"x",
        "cifar-10-batches-bin/plain": b"x",
        BINARY[0]: link(BINARY[0], tarfile.SYMTYPE, str(secret)),
        "cifar-10-batches-bin/hard": link(
            "cifar-10-batches-bin/hard", tarfile.LNKTYPE, "/etc/passwd"
        ),
        "cifar-10-batches-bin/pipe": link("cifar-10-batches-bin/pipe", tarfile.FIFOTYPE, ""),
    }
    path = write_tar(tmp_path / "a.tar.gz", members)
    before = sorted(tmp_path.rglob("*"))
    broken(path, "neither all of")  # the link was not followed
    assert sorted(tmp_path.rglob("*")) == before
    assert not (tmp_path.parent / "climbed").exists()
    assert not (tmp_path.parent / "escaped").exists()
    assert list(isolated.iterdir()) == []


def test_a_member_that_declares_more_than_it_may_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "a.tar.gz"
    for name, size, words in (
        (BINARY[0], 1 << 28, f"{BINARY[0]} declares 268,435,456 bytes"),
        ("any", 1 << 62, "'any' declares 4,611,686,018,427,387,904 bytes"),
    ):
        info = tarfile.TarInfo(name)
        info.size = size
        path.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT)))
        broken(path, words)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.REGTYPE])
def test_a_bomb_does_not_fill_the_memory(tmp_path, kind):
    info = tarfile.TarInfo("bomb")
    info.size, info.type = 1 << 40, kind
    if kind == tarfile.REGTYPE:
        info.size = TINY_100.archive_limit_bytes - 2048  # within bounds, and then there is more
    path = tmp_path / "a.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(8):
            file.write(bytes(1 << 20))
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    with pytest.raises(DataError, match="unpacks to more than"):
        read_archive(path, TINY_100)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2 * TINY_100.archive_limit_bytes + (1 << 21)


def test_devices_and_sparse_files_are_not_read(tmp_path):
    for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.LNKTYPE):
        members = tiny_100(kind="binary")
        members["cifar-100-binary/test.bin"] = link(
            "cifar-100-binary/test.bin", kind, "cifar-100-binary/train.bin"
        )
        with pytest.raises(DataError, match="neither all of"):
            read_archive(write_tar(tmp_path / "a.tar.gz", members), TINY_100)


def test_a_checksum_at_the_very_end_is_compared(tmp_path):
    path = write_tar(tmp_path / "a.tar.gz", tiny_100(kind="binary"))
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # of the checksum; the last four bytes are the length
    path.write_bytes(content)
    with pytest.raises(DataError, match="CRC check failed"):
        read_archive(path, TINY_100)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02}r\xff\xff\xff\x7f.",  # a memo of two thousand million places
        b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x00s.",  # a key nested a million deep
    ],
    ids=["memo", "nested"],
)
def test_a_pickle_that_would_fill_memory_or_stack_is_refused(tmp_path, content):
    broken(write_with_first(tmp_path, content, PYTHON), "no pickled batch of images")


def test_a_tar_header_with_letters_for_numbers_is_refused(tmp_path):
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo(BINARY[0])
        info.pax_headers = {"GNU.sparse.map": "0,x"}
        archive.addfile(info)
    broken(path)
