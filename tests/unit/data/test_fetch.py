import hashlib
import http.server
import socket
import threading
import time
from dataclasses import replace

import pytest

from alexnet_cli.data.cache import PublishedFile, find_file, is_cached
from alexnet_cli.data.fetch import FetchOptions, download
from alexnet_cli.data.transfer import RetryPolicy
from alexnet_cli.errors import AlexnetError, DataError, DownloadError

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        status, body, promised = {
            "/right": (200, CONTENT, len(CONTENT)),
            "/mirror/a.tar.gz": (200, CONTENT, len(CONTENT)),
            "/503/a.tar.gz": (503, b"try later", 9),
            "/short": (200, CONTENT[:70_000], len(CONTENT)),
            "/drip": (200, CONTENT[:500], len(CONTENT)),
            "/empty": (200, b"", len(CONTENT)),
            "/html": (200, b"<html>Please log in</html>", 26),
            "/other": (200, CONTENT[::-1], len(CONTENT)),
            "/503": (503, b"try later", 9),
        }.get(self.path, (404, b"not found", 9))
        self.send_response(status)
        self.send_header("Content-Length", str(promised))
        self.send_header("ETag", '"1"')
        self.end_headers()
        if self.path != "/drip":
            self.wfile.write(body)
            return
        for byte in body:
            self.wfile.write(bytes([byte]))
            time.sleep(0.02)

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
            **{
                "dataset": "cifar10",
                "name": "a.tar.gz",
                "url": url,
                "num_bytes": len(CONTENT),
                "sha256": SHA256,
            }
            | changes
        )

    return build


@pytest.fixture
def fetch(progress):
    """Fetch without retries."""

    def fetch(archive, **options):
        options = {"retry": RetryPolicy(attempts=1, stall_seconds=0.2)} | options
        return download(archive, FetchOptions(**options), progress=progress)

    return fetch


@pytest.fixture
def refused_url():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    return f"http://127.0.0.1:{port}/right"


def test_the_right_file_arrives_complete_and_alone(fetch, kept, progress, archive_at, capfd):
    archive = archive_at("/right")
    assert not is_cached(archive)
    fetch(archive)
    assert kept() == ["a.tar.gz"]
    assert find_file(archive).read_bytes() == CONTENT
    assert is_cached(archive)
    assert progress.total == progress.seen == len(CONTENT)
    assert capfd.readouterr() == ("", "")


def test_a_sound_copy_is_fetched_again_only_by_force(fetch, archive_at, server):
    archive = archive_at("/right")
    for force, num_requests in [(False, 1), (False, 1), (True, 2)]:
        fetch(archive, force=force)
        assert len(server.requests) == num_requests
    assert find_file(archive).read_bytes() == CONTENT


def test_a_damaged_copy_is_fetched_again(fetch, archive_at):
    archive = archive_at("/right")
    archive.path.parent.mkdir()
    archive.path.write_bytes(CONTENT[:-1])
    fetch(archive)
    assert find_file(archive).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("/missing", "404"),
        ("/503", "503"),
        ("/empty", "the connection broke off"),
        ("/html", "in place of 102,400"),
        ("/other", "sha256 differs"),
    ],
)
def test_a_failed_download_is_named_and_leaves_what_was_there(fetch, kept, archive_at, path, cause):
    archive = archive_at(path)
    archive.path.parent.mkdir()
    archive.path.write_bytes(b"damaged")
    with pytest.raises(DownloadError) as caught:
        fetch(archive)
    assert archive.url in caught.value.message
    assert cause in caught.value.message
    assert archive.url in caught.value.hint
    assert kept() == [archive.name]
    assert not is_cached(archive)


def test_a_stalled_transfer_ends_and_is_kept(fetch, archive_at):
    archive = archive_at("/drip")
    with pytest.raises(DownloadError, match="the transfer stalled"):
        fetch(archive)
    size = archive.part_path.stat().st_size
    assert 0 < size < 500
    assert archive.part_path.read_bytes() == CONTENT[:size]


def test_what_arrived_before_the_connection_broke_off_is_kept(fetch, kept, archive_at):
    archive = archive_at("/short")
    with pytest.raises(DownloadError, match="the connection broke off"):
        fetch(archive)
    assert kept() == [archive.part_path.name, f"{archive.part_path.name}.json"]
    assert archive.part_path.read_bytes() == CONTENT[:70_000]
    fetch(archive_at("/right"))  # this server knows no ranges: it begins again
    assert kept() == [archive.name]


def test_mirrors_are_asked_first_and_in_order(fetch, archive_at, server, refused_url):
    archive = archive_at("/right")
    base = archive.url.removesuffix("/right")
    mirrors = (refused_url, f"{base}/503", f"{base}/mirror/", f"{base}/never")
    fetch(archive, mirrors=mirrors)
    assert server.requests == ["/503/a.tar.gz", "/mirror/a.tar.gz"]
    assert find_file(archive).read_bytes() == CONTENT


def test_content_that_the_user_trusts_comes_from_mirrors_only(fetch, archive_at, server):
    archive = archive_at("/right", sha256="0" * 64, num_bytes=7)
    base = archive.url.removesuffix("/right")
    fetch(archive, mirrors=(f"{base}/mirror/a.tar.gz",), sha256=SHA256.upper())
    assert find_file(archive).read_bytes() == CONTENT
    with pytest.raises(DownloadError, match="sha256 differs"):
        fetch(archive, mirrors=(f"{base}/mirror",), sha256="1" * 64)
    assert server.requests == ["/mirror/a.tar.gz"] * 2
    assert find_file(archive).read_bytes() == CONTENT


def test_content_that_is_trusted_but_of_another_kind_changes_nothing(fetch, kept, archive_at):
    archive = archive_at("/right", sha256=hashlib.sha256(b"sound").hexdigest(), num_bytes=5)
    archive.path.parent.mkdir()
    archive.path.write_bytes(b"sound")

    def check(path):
        assert path.read_bytes() == CONTENT
        raise DataError("it is no archive")

    mirrors = (archive.url.removesuffix("/right") + "/mirror",)
    with pytest.raises(DownloadError, match="the hash is right, but it is no archive"):
        fetch(archive, mirrors=mirrors, sha256=SHA256, check=check)
    assert kept() == [archive.name]
    assert find_file(archive).read_bytes() == b"sound"


def test_no_password_of_a_mirror_is_shown(fetch, archive_at, refused_url):
    mirror = refused_url.replace("//", "//me:secret@")
    with pytest.raises(DownloadError) as caught:
        fetch(archive_at("/503"), mirrors=(mirror,))
    assert refused_url in caught.value.message
    assert "secret" not in f"{caught.value.message} {caught.value.hint}"


def test_no_password_of_a_mirror_is_kept(fetch, archive_at):
    archive = archive_at("/short")
    url = archive.url.replace("//", "//me:secret@")
    with pytest.raises(DownloadError, match="broke off"):
        fetch(replace(archive, url=url))
    beside = archive.part_path.with_name(f"{archive.part_path.name}.json")
    assert archive.url in beside.read_text()
    assert "secret" not in beside.read_text()


def test_offline_makes_no_request(fetch, kept, archive_at, server):
    archive = archive_at("/right")
    with pytest.raises(DownloadError, match="--offline") as caught:
        fetch(archive, offline=True)
    assert archive.url in caught.value.hint
    assert server.requests == []
    assert kept() == []


def test_too_little_space_is_found_before_the_download(fetch, archive_at, server):
    with pytest.raises(DownloadError) as caught:
        fetch(archive_at("/right", num_bytes=10**18))
    assert caught.value.code == "no_space"
    assert server.requests == []


def test_a_cache_folder_that_is_a_file_is_refused(fetch, archive_at, monkeypatch, isolated):
    (isolated / "file").touch()
    monkeypatch.setenv("ALEXNET_HOME", str(isolated / "file"))
    with pytest.raises(AlexnetError) as caught:
        fetch(archive_at("/right"))
    assert caught.value.code == "not_writable"


@pytest.mark.parametrize("path", ["/503", "/other"])
def test_a_failed_forced_download_keeps_the_sound_copy(fetch, archive_at, path):
    fetch(archive_at("/right"))
    with pytest.raises(DownloadError):
        fetch(archive_at(path), force=True)
    assert find_file(archive_at("/right")).read_bytes() == CONTENT
