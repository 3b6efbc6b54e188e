import os
import shutil

import numpy as np
import pytest

from alexnet_cli.data import content
from alexnet_cli.data.content import hash_files, hash_pixels, read_arrays, to_npz
from alexnet_cli.errors import DataError
from alexnet_cli.files import cache_folder

NAMES = np.array([f"{name}/{number}.png" for name in "ab" for number in range(5)], object)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.setattr(content, "_SETTLED_NS", 0)  # files need not rest before they are kept
    for number, name in enumerate(NAMES):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]) * 100)
    return tmp_path / "photos"


def kept_file():
    (path,) = (cache_folder() / content.FOLDER).iterdir()
    return path


def test_the_hash_is_of_the_bytes_not_of_name_and_place(photos, tmp_path):
    before = hash_files(photos, NAMES)
    assert len(set(before)) == len(NAMES)
    np.testing.assert_array_equal(hash_files(photos, NAMES[::-1]), before[::-1])
    shutil.copytree(photos, tmp_path / "moved")
    np.testing.assert_array_equal(hash_files(tmp_path / "moved", NAMES), before)


def test_other_bytes_of_the_same_size_and_time_are_noticed(photos):
    before = hash_files(photos, NAMES)
    status = (photos / NAMES[3]).stat()
    (photos / NAMES[3]).write_bytes(b"x" * 100)
    os.utime(photos / NAMES[3], ns=(status.st_atime_ns, status.st_mtime_ns))
    assert np.flatnonzero(hash_files(photos, NAMES) != before).tolist() == [3]


def test_files_as_they_were_are_not_read_again(photos):
    hash_files(photos, NAMES[:5])
    hash_files(photos, NAMES[5:])  # the first ones stay
    rows = read_arrays(kept_file(), {"files": content._ROW})["files"]
    assert len(rows) == len(NAMES)
    rows["hash"] = 7
    kept_file().write_bytes(to_npz(files=rows))
    assert set(hash_files(photos, NAMES)) == {7}


def test_a_file_that_may_still_change_is_not_kept(photos, monkeypatch):
    monkeypatch.setattr(content, "_SETTLED_NS", 10**18)
    hash_files(photos, NAMES)
    assert not len(read_arrays(kept_file(), {"files": content._ROW})["files"])


def test_damaged_hashes_are_computed_again(photos):
    before = hash_files(photos, NAMES)
    kept = kept_file().read_bytes()
    middle = len(kept) // 2
    flipped = kept[:middle] + bytes([kept[middle] ^ 1]) + kept[middle + 1 :]
    for damaged in (b"", kept[:-9], kept[::-1], flipped):
        kept_file().write_bytes(damaged)
        np.testing.assert_array_equal(hash_files(photos, NAMES), before)


def test_hashes_that_cannot_be_kept_are_computed(photos):
    before = hash_files(photos, NAMES)
    shutil.rmtree(cache_folder() / content.FOLDER)
    (cache_folder() / content.FOLDER).write_bytes(b"not a folder")
    np.testing.assert_array_equal(hash_files(photos, NAMES), before)


def test_a_file_that_is_gone_is_named(photos):
    (photos / NAMES[2]).unlink()
    with pytest.raises(DataError, match=str(NAMES[2])):
        hash_files(photos, NAMES)


def test_pixels_are_told_apart_wherever_they_lie_in_memory():
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), np.uint8)
    images[5] = images[2]
    hashes = hash_pixels(images)
    assert len(set(hashes)) == 5
    assert hashes[5] == hashes[2]
    wider = np.zeros((6, 4, 8, 3), np.uint8)
    wider[:, :, ::2] = images
    np.testing.assert_array_equal(hash_pixels(wider[:, :, ::2]), hashes)
