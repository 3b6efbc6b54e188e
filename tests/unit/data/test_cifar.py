"""Official archives are read in order; damaged and hostile ones are refused."""

import gzip
import io
import os
import pickle
import struct
import tarfile
import tracemalloc

import numpy as np
import pytest

from alexnet_cli.data.cifar import (
    CIFAR10,
    CIFAR100,
    read_archive,
    read_cifar10_1_images,
    read_cifar10_1_labels,
)
from alexnet_cli.errors import DataError
from tests.conftest import write_tar
from tests.tiny_archives import TINY_10, TINY_100, binary_members, python_members

BINARY, PYTHON = TINY_10.binary, TINY_10.python
LABELS = [9, 0, 3, 3, 1, 2]
RECORDS = bytes(TINY_10.train_images * TINY_10.record_bytes)
PIXELS = np.zeros((TINY_10.train_images, 3072), np.uint8)


def assert_holds(arrays, contents, layout):
    """Compare with binary batches."""
    records = np.frombuffer(b"".join(contents), np.uint8).reshape(-1, layout.record_bytes)
    planes = records[:, layout.label_bytes :].reshape(-1, 3, 32, 32)  # red, green, blue
    np.testing.assert_array_equal(arrays.images_NHWC, planes.transpose(0, 2, 3, 1), strict=True)
    labels = records[:, layout.label_place].astype(np.int64)
    np.testing.assert_array_equal(arrays.labels_N, labels, strict=True)


def protocol_2(pixels, labels):
    return pickle.dumps({b"data": pixels, b"labels": labels}, protocol=2)


def as_python_2_wrote_it(pixels, labels):
    """The opcodes of the official archive: byte strings, and numpy's module as named then."""
    state = (
        b"(K\x01K" + bytes([len(pixels)]) + b"M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
    )
    state += b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    state += b"T" + struct.pack("<i", pixels.nbytes) + pixels.tobytes() + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R" + state
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(U\x04data" + array + b"U\x06labels" + numbers + b"u."


def binary(pixels, labels):
    return np.hstack([np.array(labels, np.uint8)[:, None], pixels]).tobytes()


def python_2_members(layout):
    members = {}
    for name, content in zip(layout.python, binary_members(layout).values(), strict=True):
        records = np.frombuffer(content, np.uint8).reshape(-1, layout.record_bytes)
        members[name] = as_python_2_wrote_it(records[:, 1:], records[:, 0].tolist())
    return members


@pytest.mark.parametrize(
    ("layout", "members_of"),
    [(TINY_10, binary_members), (TINY_10, python_members), (TINY_10, python_2_members),
     (TINY_100, binary_members), (TINY_100, python_members)],
)  # fmt: skip
def test_both_layouts_are_read_in_order(tmp_path, layout, members_of):
    # The order in the archive does not matter, the names do.
    members = dict(sorted(members_of(layout).items(), reverse=True)) | {"a/readme.html": b"ignored"}
    train, test = read_archive(write_tar(tmp_path / "a.tar.gz", members), layout)
    *batches, last = binary_members(layout).values()
    assert_holds(train, batches, layout)
    assert_holds(test, [last], layout)


def test_classes_are_in_the_official_order():
    assert [CIFAR10.classes[i] for i in (0, 3, 9)] == ["airplane", "cat", "truck"]
    assert [CIFAR100.classes[i] for i in (0, 50, 99)] == ["apple", "mouse", "worm"]
    for classes, count in ((CIFAR10.classes, 10), (CIFAR100.classes, 100)):
        assert len(set(classes)) == count
        assert list(classes) == sorted(classes)


def test_the_label_of_cifar_100_is_the_fine_one():
    fine = (CIFAR100.label_bytes, CIFAR100.label_place, CIFAR100.label_key)
    assert fine == (2, 1, b"fine_labels")


def refused(path, *texts, layout=TINY_10):
    with pytest.raises(DataError) as caught:
        read_archive(path, layout)
    assert caught.value.code == "archive_invalid"
    assert f"alexnet download --data {layout.name} --force" in caught.value.hint
    for text in (str(path), *texts):
        assert text in caught.value.message


def write_with_first(tmp_path, first, names=BINARY):
    """Write an archive that can only fail at its first member: it is decoded first."""
    return write_tar(tmp_path / "a.tar.gz", dict.fromkeys(names, b"") | {names[0]: first})


@pytest.mark.parametrize("content", [b"", RECORDS[:-1], RECORDS[:-3073], RECORDS + b"0"], ids=len)
def test_a_wrong_number_of_records_is_refused(tmp_path, content):
    path = write_with_first(tmp_path, content)
    refused(path, BINARY[0], f"has {len(content)} bytes, expected {len(RECORDS)}")


@pytest.mark.parametrize("layout", [TINY_10, TINY_100])
def test_a_label_too_large_is_refused(tmp_path, layout):
    largest, members = len(layout.classes) - 1, binary_members(layout)
    name, path = layout.binary[-1], tmp_path / "a.tar.gz"
    for label in (largest, largest + 1):
        content = bytearray(members[name])
        content[layout.label_place] = label
        write_tar(path, members | {name: content})
        if label == largest:
            assert read_archive(path, layout)[1].labels_N[0] == largest
    refused(path, name, f"labels outside 0–{largest}", layout=layout)


@pytest.mark.parametrize("names", [BINARY, PYTHON], ids=["binary", "python"])
@pytest.mark.parametrize("missing", [0, 4, 5])
def test_a_missing_member_is_refused(tmp_path, names, missing):
    members = dict.fromkeys(names, b"")
    del members[names[missing]]
    path = write_tar(tmp_path / "a.tar.gz", members)
    refused(path, "is not a CIFAR-10 archive", "neither all of cifar-10-batches-bin/", "nor all of")


@pytest.mark.parametrize(
    ("pixels", "labels", "text"),
    [
        (PIXELS[1:], LABELS[:4], "pixels of shape (4, 3072)"),
        (PIXELS.astype(bool), LABELS[:4], "uint8 pixels"),
        ([[0] * 3072], LABELS[:4], "uint8 pixels"),
        (PIXELS, LABELS[:3], "4 labels"),
        (PIXELS, [0.5] * 4, "4 labels"),
        (PIXELS, [-1, 0, 0, 0], "labels outside 0–9"),
        (PIXELS, [10, 0, 0, 0], "labels outside 0–9"),
    ],
    ids=["rows", "dtype", "list", "label count", "label type", "label -1", "label 10"],
)
def test_a_pickle_of_something_else_is_refused(tmp_path, pixels, labels, text):
    path = write_with_first(tmp_path, protocol_2(pixels, labels), PYTHON)
    refused(path, PYTHON[0], text)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "cannot be read"),
        (b"no pickle", "cannot be read"),
        (pickle.dumps([1, 2]), "cannot be read"),
        (pickle.dumps({b"data": 1}), "cannot be read"),
        (protocol_2(PIXELS, LABELS)[:-2_000], "cannot be read"),
        (b"\x80\x02" + b"]" * 100, "cannot be read"),
        # A memo of two thousand million places, and a key nested a million deep.
        (b"\x80\x02}r\xff\xff\xff\x7f.", "not a pickled batch of images"),
        (b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x00s.", "not a pickled batch of images"),
        # Names with dots do not reach past the allowed ones.
        (b"\x80\x04\x8c\x05numpy\x8c\x0fdtype.__class__\x93.", "it asks for numpy.dtype.__class__"),
        (b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.", "it asks for numpy.ndarray.tofile"),
    ],
)
def test_a_damaged_or_hostile_pickle_is_refused(tmp_path, content, text):
    refused(write_with_first(tmp_path, content, PYTHON), PYTHON[0], text)


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
    refused(write_with_first(tmp_path, content, PYTHON), PYTHON[0], "it asks for")
    assert not canary.exists()
    pickle.loads(content)  # noqa: S301 (the bait works where nothing guards it)
    assert canary.exists()


def test_a_file_that_is_not_an_archive_is_refused(tmp_path):
    path = tmp_path / "a.tar.gz"
    for content in (b"", b"<html>Not found</html>", b"PK\x03\x04"):
        path.write_bytes(content)
        refused(path)
    refused(tmp_path / "missing.tar.gz", "No such file")
    refused(tmp_path)
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo(BINARY[0])
        info.pax_headers = {"GNU.sparse.map": "0,x"}  # letters for numbers
        archive.addfile(info)
    refused(path)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_hostile_members_write_nothing_and_read_nothing_outside(tmp_path, isolated, kind):
    secret = tmp_path / "secret"
    secret.write_bytes(RECORDS)  # would be a valid batch
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in (*BINARY[1:], "../../escaped", str(tmp_path / "absolute"), "a/../../climbed"):
            info = tarfile.TarInfo(name)
            info.size = len(RECORDS)
            archive.addfile(info, io.BytesIO(RECORDS))
        link = tarfile.TarInfo(BINARY[0])
        link.type, link.linkname = kind, str(secret)
        archive.addfile(link)
    before = sorted(tmp_path.rglob("*"))
    refused(path, "neither all of")  # the link was not followed
    assert sorted(tmp_path.rglob("*")) == before
    assert not (tmp_path.parent / "climbed").exists()
    assert not (tmp_path.parent / "escaped").exists()
    assert list(isolated.iterdir()) == []


def test_a_member_that_declares_more_than_it_may_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "a.tar.gz"
    for name, size, text in (
        (BINARY[0], 1 << 19, f"'{BINARY[0]}' declares 524,288 bytes"),
        ("any", 1 << 62, "'any' declares 4,611,686,018,427,387,904 bytes"),
    ):
        info = tarfile.TarInfo(name)
        info.size = size
        path.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT)))
        refused(path, text)


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
    tracemalloc.start()
    refused(path, "unpacks to more than", layout=TINY_100)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2 * TINY_100.archive_limit_bytes + (1 << 21)


def test_a_checksum_at_the_very_end_is_compared(tmp_path):
    path = write_tar(tmp_path / "a.tar.gz", binary_members(TINY_100))
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # of the checksum; the last four bytes are the length
    path.write_bytes(content)
    refused(path, "CRC check failed", layout=TINY_100)


# CIFAR-10.1

NEW_IMAGES = np.random.default_rng(0).integers(0, 256, (2_000, 32, 32, 3), np.uint8)
NEW_LABELS = np.arange(2_000) % 10


def save(path, array, **options):
    np.save(path, array, **options)
    return path


@pytest.mark.parametrize("kind", ["<i4", "<i8", "u1", ">i2"])
def test_both_files_of_cifar10_1_are_read(tmp_path, kind):
    images = read_cifar10_1_images(save(tmp_path / "i.npy", NEW_IMAGES))
    labels = read_cifar10_1_labels(save(tmp_path / "l.npy", NEW_LABELS.astype(kind)))
    np.testing.assert_array_equal(images, NEW_IMAGES)
    np.testing.assert_array_equal(labels, NEW_LABELS)
    assert labels.dtype == np.int64


def refused_npy(read, path, *texts):
    with pytest.raises(DataError) as caught:
        read(path)
    assert caught.value.code == "data_corrupt"
    assert caught.value.hint == "fetch it again with: alexnet download --data cifar10.1 --force"
    for text in (str(path), *texts):
        assert text in caught.value.message


@pytest.mark.parametrize(
    ("read", "array", "text"),
    [
        (read_cifar10_1_images, NEW_IMAGES[:-1], "expected (2000, 32, 32, 3)"),
        (read_cifar10_1_images, NEW_IMAGES.reshape(2_000, -1), "expected (2000, 32, 32, 3)"),
        (read_cifar10_1_images, NEW_IMAGES.astype(np.int8), "int8"),
        (read_cifar10_1_labels, NEW_LABELS[:-1], "expected (2000,)"),
        (read_cifar10_1_labels, NEW_LABELS / 2, "float64"),
        (read_cifar10_1_labels, NEW_LABELS.astype(bool), "bool"),
        (read_cifar10_1_labels, NEW_LABELS + 1, "outside 0–9"),
        (read_cifar10_1_labels, NEW_LABELS - 1, "outside 0–9"),
        (read_cifar10_1_labels, NEW_LABELS.astype(np.uint64) - 1, "outside 0–9"),
    ],
    ids=["rows", "flat", "int8", "count", "float", "bool", "label 10", "label -1", "label 2^64-1"],
)
def test_other_arrays_are_refused(tmp_path, read, array, text):
    refused_npy(read, save(tmp_path / "a.npy", array), text)


def test_objects_are_never_unpickled(tmp_path):
    objects = np.array([Calls(open, str(tmp_path / "canary"), "w")] * 2_000)
    refused_npy(read_cifar10_1_labels, save(tmp_path / "l.npy", objects, allow_pickle=True))
    assert not (tmp_path / "canary").exists()


def npy(shape, *, version=b"\x01\x00"):
    text = b"{'descr': '<i8', 'fortran_order': False, 'shape': (%s,), }\n" % shape
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "content",
    [b"", b"\x93NUMPY", b"<html>", b"PK\x03\x04" + bytes(100), npy(b"2000") + bytes(15_999),
     npy(b"2000", version=b"\x09\x00"), npy(b"9" * 20), npy(b"__import__('os')")],
    ids=["empty", "magic", "html", "zip", "short", "version", "huge", "code"],
)  # fmt: skip
def test_a_file_that_is_not_an_npy_file_is_refused(tmp_path, content):
    path = tmp_path / "l.npy"
    path.write_bytes(content)
    refused_npy(read_cifar10_1_labels, path)
    refused_npy(read_cifar10_1_labels, tmp_path / "missing.npy", "No such file")
