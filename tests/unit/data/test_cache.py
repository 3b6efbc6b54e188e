import hashlib

import pytest

from alexnet_cli.data.cache import (
    PublishedFile,
    adopt_local_copy,
    find_file,
    import_file,
    is_cached,
)
from alexnet_cli.errors import AlexnetError, DataError

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


def test_no_archive_is_an_error_with_folder_and_command(tmp_path):
    with pytest.raises(DataError) as caught:
        find_file(ARCHIVE)
    assert caught.value.code == "data_missing"
    assert str(tmp_path / "cache") in caught.value.message
    assert caught.value.hint == "fetch it with: alexnet download --data cifar10"


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
