import io

import numpy as np
import pytest

from alexnet_cli.data.cifar10_1 import read_images, read_labels, read_test
from alexnet_cli.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (2_000, 32, 32, 3), np.uint8)
LABELS = np.arange(2_000) % 10


def save(path, array):
    np.save(path, array)
    return path


@pytest.mark.parametrize("kind", ["<i4", "<i8", "u1", ">i2"])
def test_both_files_are_read(tmp_path, kind):
    paths = save(tmp_path / "i.npy", IMAGES), save(tmp_path / "l.npy", LABELS.astype(kind))
    found = read_test(*paths)
    np.testing.assert_array_equal(found.images_NHWC, IMAGES)
    np.testing.assert_array_equal(found.labels_N, LABELS)
    assert found.labels_N.dtype == np.int64


def refused(read, path, *words):
    with pytest.raises(DataError) as caught:
        read(path)
    assert caught.value.code == "data_corrupt"
    assert caught.value.hint == ("fetch it again with: alexnet download --data cifar10.1 --force")
    for word in (str(path), *words):
        assert word in caught.value.message


@pytest.mark.parametrize(
    "array",
    [
        IMAGES[:-1],
        IMAGES.astype(np.int8),
        IMAGES.astype(np.uint16),
        np.asfortranarray(IMAGES),
        IMAGES.reshape(2_000, -1),
        IMAGES.tolist()[0],
    ],
    ids=["rows", "int8", "uint16", "fortran", "flat", "list"],
)
def test_other_images_are_refused(tmp_path, array):
    refused(read_images, save(tmp_path / "i.npy", array), "expected (2000, 32, 32, 3)")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (LABELS[:-1], "expected (2000,)"),
        (LABELS / 2, "float64"),
        (LABELS.astype(bool), "bool"),
        (LABELS + 1, "outside 0–9"),
        (LABELS - 1, "outside 0–9"),
        (LABELS.astype(np.uint64) - 1, "outside 0–9"),
    ],
    ids=["rows", "float", "bool", "label 10", "label -1", "label 2^64 - 1"],
)
def test_other_labels_are_refused(tmp_path, array, words):
    refused(read_labels, save(tmp_path / "l.npy", array), words)


def test_objects_are_never_unpickled(tmp_path):
    class Canary:
        def __reduce__(self):
            return (open, (str(tmp_path / "canary"), "w"))

    path = tmp_path / "l.npy"
    np.save(path, np.array([Canary()] * 2_000), allow_pickle=True)
    refused(read_labels, path, "object")
    assert not (tmp_path / "canary").exists()


VERSION_9 = b"\x93NUMPY\x09\x00"


def header(text, *, magic=b"\x93NUMPY\x01\x00"):
    return magic + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"<html>",
        b"PK\x03\x04" + bytes(100),
        header(b"{'descr': '<i8', 'fortran_order': False, 'shape': (2000L,), }\n") + bytes(16_000),
        header(b"{'descr': '<i8', 'fortran_order': False, 'shape': (2000,), }", magic=VERSION_9),
        header(b"(" * 1_000),
        header(b"__import__('os').system('true')"),
        header(b"{'descr': '<i8', 'fortran_order': False, 'shape': (99999999999999999999,), }\n"),
    ],
    ids=["empty", "magic", "html", "zip", "python 2", "version", "nested", "code", "huge"],
)  # fmt: skip
def test_what_is_no_such_file_is_refused(tmp_path, content):
    path = tmp_path / "l.npy"
    path.write_bytes(content)
    refused(read_labels, path)


@pytest.mark.parametrize("extra", [-1, 1])
def test_another_length_is_refused(tmp_path, extra):
    file = io.BytesIO()
    np.save(file, LABELS)
    path = tmp_path / "l.npy"
    path.write_bytes((file.getvalue() + b"\0")[: len(file.getvalue()) + extra])
    refused(read_labels, path, "too early or too late")


def test_a_missing_file_is_refused(tmp_path):
    refused(read_labels, tmp_path / "missing.npy", "No such file")
