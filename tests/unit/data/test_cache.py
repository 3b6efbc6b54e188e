import hashlib
import json
import multiprocessing
import os
import resource

import numpy as np
import pytest

from alexnet_cli.data.arrays import colour_sums
from alexnet_cli.data.cache import (
    RECORD,
    SCHEMA,
    TEST,
    TRAIN,
    PublishedFile,
    adopt_local_copy,
    array_path,
    find_file,
    import_file,
    is_cached,
    load_arrays,
    load_hashes,
    record_path,
)
from alexnet_cli.data.cifar import read_archive
from alexnet_cli.data.content import hash_pixels
from alexnet_cli.errors import AlexnetError, DataError
from alexnet_cli.files import atomic_write, cache_folder
from tests.tiny_archives import TINY_10, TINY_100, in_cache

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ARCHIVE = PublishedFile("cifar10", "a.tar.gz", "https://example.org/a", len(CONTENT), SHA256)
OTHER = PublishedFile(
    "cifar10", "a.tar.gz", "https://example.org/a", len(CONTENT) + 1, "0" * 64,
    equivalents=((len(CONTENT), SHA256),),
)  # fmt: skip


@pytest.fixture
def mine(isolated):
    path = isolated / "mine.tar.gz"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def take(progress):
    def take(archive, source, *, sha256=None, check=lambda _path: None):
        import_file(archive, source, sha256=sha256, check=check, progress=progress)

    return take


@pytest.mark.parametrize(
    ("archive", "names"), [(ARCHIVE, ["a.tar.gz"]), (OTHER, ["a.tar.gz", "a.tar.gz.sha256"])]
)
def test_an_official_file_or_an_equivalent_is_known_by_its_hash_and_copied(
    take, mine, progress, kept, archive, names
):
    take(archive, mine, check=lambda _: pytest.fail("read for nothing"))
    assert find_file(archive).read_bytes() == CONTENT
    assert mine.read_bytes() == CONTENT
    assert kept() == names
    assert progress.total == progress.seen == len(CONTENT)
    assert progress.closed


def test_another_file_is_refused_with_the_command_that_trusts_it(take, mine, kept):
    archive = PublishedFile("cifar100", "a.tar.gz", "", len(CONTENT) + 1, "0" * 64)
    with pytest.raises(DataError) as caught:
        take(archive, mine, check=lambda _: pytest.fail("opened before the hash was checked"))
    assert caught.value.code == "hash_differs"
    assert SHA256 in caught.value.message
    assert "102,400 of 102,401 bytes" in caught.value.message
    assert caught.value.hint.endswith(
        f"alexnet download --data cifar100 --archive {mine} --sha256 {SHA256}"
    )
    assert kept() == []


@pytest.mark.parametrize("given", [SHA256, SHA256.upper()])
def test_a_file_with_the_hash_given_is_taken_and_found_again(take, mine, given):
    archive, checked = PublishedFile("cifar10", "a.tar.gz", "", 1, "0" * 64), []
    take(archive, mine, sha256=given, check=checked.append)
    assert checked == [mine]
    assert is_cached(archive)
    assert find_file(archive).read_bytes() == CONTENT


def test_a_file_with_another_hash_than_given_is_refused_even_if_official(take, mine, kept):
    with pytest.raises(DataError, match="as given") as caught:
        take(ARCHIVE, mine, sha256="F" * 64)
    assert "f" * 64 in caught.value.message
    assert "--sha256" in caught.value.hint
    assert kept() == []


@pytest.mark.parametrize("name", ["missing.tar.gz", "."])
def test_a_missing_file_or_a_folder_is_refused(take, isolated, kept, name):
    with pytest.raises(DataError, match="no such file") as caught:
        take(ARCHIVE, isolated / name)
    assert caught.value.code == "data_missing"
    assert kept() == []


@pytest.mark.parametrize("is_there", [False, True], ids=["nothing before", "a sound copy before"])
def test_a_failed_check_changes_nothing(take, mine, kept, is_there):
    if is_there:
        take(ARCHIVE, mine)
    names = kept()
    content = b"trusted, but no archive"
    mine.write_bytes(content)

    def check(path):
        raise DataError(f"{path} is no archive")

    with pytest.raises(DataError, match="is no archive"):
        take(ARCHIVE, mine, sha256=hashlib.sha256(content).hexdigest(), check=check)
    assert kept() == names
    assert is_cached(ARCHIVE) is is_there


@pytest.mark.parametrize("archive", [ARCHIVE, OTHER], ids=["published", "equivalent"])
@pytest.mark.parametrize("damage", [CONTENT[:-1], b"", b"\1" + CONTENT[1:]], ids=len)
def test_a_damaged_copy_is_refused(take, mine, archive, damage):
    take(archive, mine)
    archive.path.write_bytes(damage)
    assert not is_cached(archive)
    with pytest.raises(DataError) as caught:
        find_file(archive)
    assert caught.value.code == "data_corrupt"
    assert str(archive.path) in caught.value.message
    assert caught.value.hint == "fetch it again with: alexnet download --data cifar10 --force"


@pytest.mark.parametrize("archive", [ARCHIVE, OTHER], ids=["itself", "equivalent"])
@pytest.mark.parametrize("folder", [".", "../cache"])
@pytest.mark.parametrize("name", ["b.tar.gz", "a (1).tar.gz", "download"])
def test_a_local_copy_is_found_by_its_hash(isolated, kept, archive, folder, name):
    path = isolated / folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(CONTENT)
    assert find_file(archive).read_bytes() == CONTENT
    assert path.read_bytes() == CONTENT
    assert is_cached(archive)
    assert archive.name in kept()


def test_a_file_of_the_right_size_and_another_content_is_not_adopted(isolated, kept):
    (isolated / "a.tar.gz").write_bytes(CONTENT[::-1])
    (isolated / "folder").mkdir()
    (isolated / "dangling").symlink_to("nowhere")
    assert adopt_local_copy(ARCHIVE) is None
    assert kept() == []


def test_a_damaged_copy_is_replaced_by_a_local_one(isolated, mine):
    ARCHIVE.path.parent.mkdir()
    ARCHIVE.path.write_bytes(b"damaged")
    assert adopt_local_copy(ARCHIVE).samefile(mine)
    assert is_cached(ARCHIVE)


def test_a_cache_folder_that_is_a_file_is_refused(isolated, mine, monkeypatch):
    (isolated / "file").touch()
    monkeypatch.setenv("ALEXNET_HOME", str(isolated / "file"))
    with pytest.raises(AlexnetError) as caught:
        adopt_local_copy(ARCHIVE)
    assert caught.value.code == "not_writable"


@pytest.fixture
def archive():
    return in_cache(TINY_10)


@pytest.fixture
def expected(archive):
    return dict(zip((TRAIN, TEST), read_archive(archive.path, TINY_10), strict=True))


def assert_same(found, expected):
    np.testing.assert_array_equal(found.images_NHWC, expected.images_NHWC)
    np.testing.assert_array_equal(found.labels_N, expected.labels_N)
    assert found.labels_N.dtype == np.int64
    assert found.images_NHWC.dtype == np.uint8


def array_files():
    others = {"tiny.tar.gz", "tiny.tar.gz.sha256", "hashes"}
    return {path.name for path in cache_folder().iterdir()} - others


ALL = {"cifar10-train.npy", "cifar10-train.json", "cifar10-test.npy", "cifar10-test.json"}


@pytest.mark.parametrize("split", [TRAIN, TEST])
def test_arrays_are_those_of_the_archive_even_without_it(archive, expected, split):
    assert_same(load_arrays(archive, TINY_10, split), expected[split])
    assert array_files() == ALL
    archive.path.unlink()
    again = load_arrays(archive, TINY_10, split)
    assert_same(again, expected[split])
    np.testing.assert_array_equal(again.colour_sums_N9, colour_sums(expected[split].images_NHWC))
    np.testing.assert_array_equal(again.hashes_N, hash_pixels(expected[split].images_NHWC))
    array_path(TINY_10, split).unlink()  # kept hashes do not need it
    np.testing.assert_array_equal(load_hashes(archive, TINY_10, split), again.hashes_N)
    statistics, plain = again.colour_statistics(), expected[split].colour_statistics()
    np.testing.assert_array_equal(statistics.covariance_CC, plain.covariance_CC)


def test_numpy_reads_the_file_without_pickle(archive, expected):
    load_arrays(archive, TINY_10, TRAIN)
    records = np.load(array_path(TINY_10, TRAIN), mmap_mode="r", allow_pickle=False)
    assert records.dtype == RECORD
    np.testing.assert_array_equal(records["pixels"], expected[TRAIN].images_NHWC)
    np.testing.assert_array_equal(records["label"], expected[TRAIN].labels_N)


def test_training_never_opens_the_test_images(archive, expected):
    load_arrays(archive, TINY_10, TRAIN)
    archive.path.unlink()
    for path in (array_path(TINY_10, TEST), record_path(TINY_10, TEST)):
        path.unlink()
        path.mkdir()  # opening it would fail
    assert_same(load_arrays(archive, TINY_10, TRAIN), expected[TRAIN])
    with pytest.raises(DataError, match="is not in"):
        load_arrays(archive, TINY_10, TEST)


def test_pytorch_takes_the_arrays_and_the_file_stays_as_it_is(archive):
    import torch  # here, so that the processes below start without

    load_arrays(archive, TINY_10, TEST)
    before = array_path(TINY_10, TEST).read_bytes()
    arrays = load_arrays(archive, TINY_10, TEST)
    torch.from_numpy(arrays.images_NHWC).zero_()  # a warning is an error in these tests
    torch.from_numpy(arrays.labels_N).zero_()
    assert array_path(TINY_10, TEST).read_bytes() == before


def change(path, place=20):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


DAMAGES = {  # tests/faults/test_data_mutants.py changes, cuts and lengthens them
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "brackets": lambda path: path.write_bytes(b"[" * 4_000),
    "list": lambda path: path.write_bytes(b"[]"),
    "object": lambda path: path.write_bytes(b"{}"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("path_of", [array_path, record_path])
def test_damaged_arrays_are_rebuilt_or_refused_but_never_used(archive, expected, path_of, damage):
    load_arrays(archive, TINY_10, TRAIN)
    damage(path_of(TINY_10, TRAIN))
    assert_same(load_arrays(archive, TINY_10, TRAIN), expected[TRAIN])
    if not path_of(TINY_10, TRAIN).is_dir():
        damage(path_of(TINY_10, TRAIN))
        archive.path.unlink()
        with pytest.raises(DataError, match="is not in"):
            load_arrays(archive, TINY_10, TRAIN)


@pytest.mark.parametrize(
    "field", [{"schema": SCHEMA + 1}, {"num_images": 19}, {"archive_sha256": "1" * 64}, {"x": 1}]
)
def test_another_schema_shape_or_archive_is_not_used(archive, expected, field):
    load_arrays(archive, TINY_10, TRAIN)
    path = record_path(TINY_10, TRAIN)
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | field))
    assert_same(load_arrays(archive, TINY_10, TRAIN), expected[TRAIN])
    assert json.loads(path.read_text()) == record


def test_another_archive_brings_its_own_arrays(archive):
    load_arrays(archive, TINY_10, TRAIN)
    other = in_cache(TINY_10, seed=1)
    train, _ = read_archive(other.path, TINY_10)
    assert_same(load_arrays(other, TINY_10, TRAIN), train)
    other.path.unlink()
    assert_same(load_arrays(other, TINY_10, TRAIN), train)


def test_a_damaged_archive_is_refused_where_its_arrays_are_not_whole(archive, expected):
    load_arrays(archive, TINY_10, TRAIN)
    change(archive.path)
    assert_same(load_arrays(archive, TINY_10, TRAIN), expected[TRAIN])
    change(array_path(TINY_10, TRAIN))
    with pytest.raises(DataError, match="is damaged"):
        load_arrays(archive, TINY_10, TRAIN)


def test_datasets_do_not_share_a_file():
    hundred = in_cache(TINY_100)
    train, test = read_archive(hundred.path, TINY_100)
    assert_same(load_arrays(hundred, TINY_100, TEST), test)
    assert_same(load_arrays(hundred, TINY_100, TRAIN), train)
    assert array_files() == {name.replace("10-", "100-") for name in ALL}


def test_arrays_that_cannot_be_kept_are_used_from_memory(archive, expected):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))
    try:
        for _ in range(2):
            assert_same(load_arrays(archive, TINY_10, TRAIN), expected[TRAIN])
            assert array_files() == set()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def _load_often(archive, sha256):
    """Load again and again while others delete, damage and write."""
    random = np.random.default_rng(os.getpid())
    for _ in range(40):
        arrays = load_arrays(archive, TINY_10, TRAIN)
        assert hashlib.sha256(arrays.images_NHWC.tobytes()).hexdigest() == sha256
        path = (array_path, record_path)[random.integers(2)](TINY_10, TRAIN)
        path.unlink(missing_ok=True)
        if random.integers(2):
            atomic_write(path, record_path(TINY_10, TEST).read_bytes())


def test_many_processes_at_once_all_get_the_right_arrays(archive, expected):
    load_arrays(archive, TINY_10, TRAIN)
    sha256 = hashlib.sha256(expected[TRAIN].images_NHWC.tobytes()).hexdigest()
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_load_often, args=(archive, sha256)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 3
    assert not any(name.endswith(".part") for name in array_files())
