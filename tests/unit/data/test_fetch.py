import gc
import hashlib
import http.server
import socket
import subprocess
import sys
import threading
import time

import pytest

from alexnet_cli.data.fetch import (
    download_archive,
    find_file,
    is_cached,
    take_archive,
)
from alexnet_cli.data.published import CIFAR10_ARCHIVE, PublishedFile
from alexnet_cli.errors import AlexnetError, DataError, DownloadError

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Progress:
    """A bar that remembers."""

    def __init__(self):
        self.total = self.seen = 0
        self.closed = False

    def update(self, num_bytes):
        self.seen += num_bytes

    def reset(self):
        self.seen = 0

    def close(self):
        self.closed = True


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        status, body, promised = {
            "/right": (200, CONTENT, len(CONTENT)),
            "/slow": (200, CONTENT, len(CONTENT)),
            "/short": (200, CONTENT[:70_000], len(CONTENT)),
            "/empty": (200, b"", len(CONTENT)),
            "/html": (200, b"<html>Please log in</html>", 26),
            "/other": (200, CONTENT[::-1], len(CONTENT)),
            "/503": (503, b"try later", 9),
        }.get(self.path, (404, b"not found", 9))
        if self.path == "/slow":
            time.sleep(0.5)
        self.send_response(status)
        self.send_header("Content-Length", str(promised))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests = []
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def archive_at(server):
    server.requests.clear()

    def build(path, **changes):
        url = f"http://127.0.0.1:{server.server_port}{path}"
        return PublishedFile(
            **{"name": "a.tar.gz", "url": url, "num_bytes": len(CONTENT), "sha256": SHA256}
            | changes
        )

    return build


@pytest.fixture
def refused_url():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    return f"http://127.0.0.1:{port}/right"


@pytest.fixture
def sockets_collected():
    """Collect here what requests leaves open after a failure, not in some later test."""
    yield
    gc.collect()


def kept(archive):
    """Names in the cache folder, but for the lock that is kept for good."""
    folder = archive.path.parent
    if not folder.exists():
        return []
    return sorted(path.name for path in folder.iterdir() if path.name != f"{archive.name}.lock")


def test_the_official_archive_is_the_published_one():
    assert CIFAR10_ARCHIVE.url.startswith("https://www.cs.toronto.edu/")
    assert CIFAR10_ARCHIVE.num_bytes == 170_052_171
    hashes = set(CIFAR10_ARCHIVE.accepted_hashes)
    assert len(hashes) == 2
    assert all(len(bytes.fromhex(digest)) == 32 for digest in hashes)


def test_the_right_file_arrives_whole_and_alone(archive_at):
    archive, progress = archive_at("/right"), Progress()
    assert not is_cached(archive)
    download_archive(archive, progress=progress)
    assert kept(archive) == ["a.tar.gz"]
    assert find_file(archive).read_bytes() == CONTENT
    assert is_cached(archive)
    assert progress.total == progress.seen == len(CONTENT)
    assert progress.closed


def test_a_sound_copy_is_fetched_again_only_by_force(archive_at, server):
    archive = archive_at("/right")
    for force, num_requests in [(False, 1), (False, 1), (True, 2)]:
        download_archive(archive, progress=Progress(), force=force)
        assert len(server.requests) == num_requests
    assert find_file(archive).read_bytes() == CONTENT


def test_a_damaged_copy_is_fetched_again(archive_at):
    archive = archive_at("/right")
    archive.path.parent.mkdir()
    archive.path.write_bytes(CONTENT[:-1])
    download_archive(archive, progress=Progress())
    assert find_file(archive).read_bytes() == CONTENT


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.usefixtures("sockets_collected")
@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("/missing", "404"),
        ("/503", "503"),
        ("/short", "the connection broke off"),
        ("/empty", "the connection broke off"),
        ("/html", "sha256 differs"),
        ("/other", "sha256 differs"),
    ],
)
@pytest.mark.parametrize("before", [None, b"damaged"], ids=["nothing before", "damaged before"])
def test_a_failed_download_is_named_and_leaves_nothing(archive_at, path, cause, before):
    archive = archive_at(path)
    if before is not None:
        archive.path.parent.mkdir()
        archive.path.write_bytes(before)
    with pytest.raises(DownloadError) as caught:
        download_archive(archive, progress=Progress())
    assert archive.url in caught.value.message
    assert cause in caught.value.message
    assert "alexnet download --archive a.tar.gz" in caught.value.hint
    assert kept(archive) == ([] if before is None else [archive.name])
    assert not is_cached(archive)


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.usefixtures("sockets_collected")
def test_a_refused_connection_is_named_and_leaves_nothing(archive_at, refused_url):
    archive = archive_at("", url=refused_url)
    with pytest.raises(DownloadError, match="no connection to the server") as caught:
        download_archive(archive, progress=Progress())
    assert refused_url in caught.value.message
    assert kept(archive) == []


def test_offline_makes_no_request(archive_at, server):
    archive = archive_at("/right")
    with pytest.raises(DownloadError, match="--offline") as caught:
        download_archive(archive, progress=Progress(), offline=True)
    assert archive.url in caught.value.message
    assert "--archive" in caught.value.hint
    assert server.requests == []
    assert kept(archive) == []


def test_too_little_space_is_found_before_the_download(archive_at, server):
    with pytest.raises(DownloadError) as caught:
        download_archive(archive_at("/right", num_bytes=10**18), progress=Progress())
    assert caught.value.code == "no_space"
    assert server.requests == []


def test_a_cache_folder_that_is_a_file_is_an_error_in_words(archive_at, monkeypatch, isolated):
    (isolated / "file").touch()
    monkeypatch.setenv("ALEXNET_HOME", str(isolated / "file"))
    with pytest.raises(AlexnetError) as caught:
        download_archive(archive_at("/right"), progress=Progress())
    assert caught.value.code == "not_writable"


def downloading_program(archive):
    return (
        "from alexnet_cli.data.fetch import Archive, download_archive\n"
        "class Bar:\n"
        "    total = 0\n"
        "    def update(self, n): pass\n"
        "    def reset(self): pass\n"
        "    def close(self): pass\n"
        f"archive = Archive('a.tar.gz', {archive.url!r}, {len(CONTENT)}, {SHA256!r})\n"
        "download_archive(archive, progress=Bar())\n"
    )


def test_a_download_says_nothing_by_itself(archive_at):
    done = subprocess.run(
        [sys.executable, "-c", downloading_program(archive_at("/right"))],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == done.stderr == ""


def test_two_processes_at_once_make_one_request(archive_at, server):
    archive = archive_at("/slow")
    program = downloading_program(archive)
    processes = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert server.requests == ["/slow"]
    assert find_file(archive).read_bytes() == CONTENT


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.usefixtures("sockets_collected")
@pytest.mark.parametrize("path", ["/503", "/other"])
def test_a_failed_forced_download_keeps_the_sound_copy(archive_at, path):
    download_archive(archive_at("/right"), progress=Progress())
    with pytest.raises(DownloadError):
        download_archive(archive_at(path), progress=Progress(), force=True)
    assert find_file(archive_at("/right")).read_bytes() == CONTENT


# A file that the user has already.


@pytest.fixture
def file(isolated):
    path = isolated / "mine.tar.gz"
    path.write_bytes(CONTENT)
    return path


def take(archive, file, *, sha256=None, check=lambda _path: None, progress=None):
    take_archive(archive, file, sha256=sha256, check=check, progress=progress or Progress())


@pytest.mark.parametrize("known_as", ["sha256", "equivalents"])
def test_an_official_file_is_checked_and_copied(archive_at, file, known_as):
    changes = (
        {"sha256": "0" * 64, "equivalents": (PublishedFile("b", "", 1, SHA256),)}
        if known_as != "sha256"
        else {}
    )
    archive, progress, checked = archive_at("", **changes), Progress(), []
    take(archive, file, check=checked.append, progress=progress)
    assert checked == [file]
    assert find_file(archive).read_bytes() == CONTENT
    assert file.read_bytes() == CONTENT
    assert kept(archive) == ["a.tar.gz", "a.tar.gz.sha256"]
    assert progress.total == progress.seen == len(CONTENT)
    assert progress.closed


def test_another_file_is_refused_with_the_command_that_vouches_for_it(archive_at, file):
    archive = archive_at("", sha256="0" * 64, num_bytes=len(CONTENT) + 1)
    with pytest.raises(DataError) as caught:
        take(archive, file, check=lambda _: pytest.fail("opened before the hash was checked"))
    assert caught.value.code == "hash_differs"
    assert SHA256 in caught.value.message
    assert "102,400 of 102,401 bytes" in caught.value.message
    assert caught.value.hint.endswith(f"alexnet download --archive {file} --sha256 {SHA256}")
    assert kept(archive) == []


@pytest.mark.parametrize("given", [SHA256, SHA256.upper()])
def test_a_file_with_the_hash_given_is_taken_and_found_again(archive_at, file, given):
    archive = archive_at("", sha256="0" * 64)
    take(archive, file, sha256=given)
    assert is_cached(archive)
    assert find_file(archive).read_bytes() == CONTENT


def test_a_file_with_another_hash_than_given_is_refused_even_if_official(archive_at, file):
    with pytest.raises(DataError, match="as given") as caught:
        take(archive_at(""), file, sha256="F" * 64)
    assert "f" * 64 in caught.value.message
    assert "--sha256" in caught.value.hint
    assert kept(archive_at("")) == []


@pytest.mark.parametrize("name", ["missing.tar.gz", "."])
def test_a_missing_file_or_a_folder_is_refused(archive_at, isolated, name):
    with pytest.raises(DataError, match="no such file") as caught:
        take(archive_at(""), isolated / name)
    assert caught.value.code == "data_missing"
    assert kept(archive_at("")) == []


@pytest.mark.parametrize("before", [None, CONTENT], ids=["nothing before", "a sound copy before"])
def test_a_failed_check_changes_nothing(archive_at, file, before):
    archive = archive_at("")
    if before:
        take(archive, file)
    names = kept(archive)
    content = b"vouched for, but no archive"
    file.write_bytes(content)

    def check(path):
        raise DataError(f"{path} is no archive")

    with pytest.raises(DataError, match="is no archive"):
        take(archive, file, sha256=hashlib.sha256(content).hexdigest(), check=check)
    assert kept(archive) == names
    assert is_cached(archive) is (before is not None)


@pytest.mark.parametrize("taken", [False, True], ids=["downloaded", "taken"])
@pytest.mark.parametrize("damage", [CONTENT[:-1], b"", b"\1" + CONTENT[1:]], ids=len)
def test_a_damaged_copy_is_found_out(archive_at, file, taken, damage):
    archive = archive_at("/right")
    if taken:
        take(archive, file, sha256=SHA256)
    else:
        download_archive(archive, progress=Progress())
    archive.path.write_bytes(damage)
    assert not is_cached(archive)
    with pytest.raises(DataError) as caught:
        find_file(archive)
    assert caught.value.code == "data_corrupt"
    assert str(archive.path) in caught.value.message
    assert caught.value.hint == "fetch it again with: alexnet download --force"


def test_a_forced_download_replaces_a_file_that_was_taken(archive_at, file):
    archive = archive_at("/right")
    file.write_bytes(b"mine")
    take(archive, file, sha256=hashlib.sha256(b"mine").hexdigest())
    download_archive(archive, progress=Progress(), force=True)
    assert find_file(archive).read_bytes() == CONTENT
    assert kept(archive) == ["a.tar.gz"]


def test_no_archive_is_an_error_with_folder_and_command(archive_at, tmp_path):
    with pytest.raises(DataError) as caught:
        find_file(archive_at(""))
    assert caught.value.code == "data_missing"
    assert str(tmp_path / "cache") in caught.value.message
    assert caught.value.hint == "fetch it with: alexnet download"
