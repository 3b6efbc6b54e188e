"""Downloads as the user sees them; `tests/faults/test_http.py` has the servers that are wrong."""

import hashlib
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from alexnet_cli.data.cache import PublishedFile, find_file, is_cached
from alexnet_cli.data.fetch import FetchOptions, download
from alexnet_cli.data.transfer import RetryPolicy
from alexnet_cli.errors import DataError, DownloadError
from tests.faults.http_behaviours import BEHAVIOURS
from tests.faults.http_server import serve

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "a.tar.gz"


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with serve(CONTENT, BEHAVIOURS, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def server(servers):
    return servers.plain


@pytest.fixture
def archive_at(server):
    server.ledger.forget(NAME)

    def build(behaviour, **changes):
        url = f"{server.url}/{behaviour}/{NAME}"
        return replace(PublishedFile("cifar10", NAME, url, len(CONTENT), SHA256), **changes)

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


def requests_to(server):
    return [request.path for request in server.ledger.requests[NAME]]


def put_in_place(archive, content):
    archive.path.parent.mkdir()
    archive.path.write_bytes(content)


def test_the_right_file_arrives_complete_and_alone(fetch, kept, progress, archive_at, capfd):
    archive = archive_at("right")
    assert not is_cached(archive)
    fetch(archive)
    assert kept() == [NAME]
    assert find_file(archive).read_bytes() == CONTENT
    assert is_cached(archive)
    assert progress.total == progress.seen == len(CONTENT)
    assert capfd.readouterr() == ("", "")


def test_a_sound_copy_is_fetched_again_only_by_force(fetch, archive_at, server):
    archive = archive_at("right")
    for force, num_requests in [(False, 1), (False, 1), (True, 2)]:
        fetch(archive, force=force)
        assert len(requests_to(server)) == num_requests
    assert find_file(archive).read_bytes() == CONTENT


def test_a_damaged_copy_is_fetched_again(fetch, archive_at):
    archive = archive_at("right")
    put_in_place(archive, CONTENT[:-1])
    fetch(archive)
    assert find_file(archive).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("behaviour", "cause"),
    [
        ("status-404", "404"),
        ("status-503", "503"),
        ("empty", "in place of 102,400"),
        ("html-untyped", "in place of 102,400"),
        ("wrong-bytes", "sha256 differs"),
    ],
)
def test_a_failed_download_is_named_and_leaves_what_was_there(
    fetch, kept, archive_at, behaviour, cause
):
    archive = archive_at(behaviour)
    put_in_place(archive, b"damaged")
    with pytest.raises(DownloadError) as caught:
        fetch(archive)
    assert archive.url in caught.value.message
    assert cause in caught.value.message
    assert archive.url in caught.value.hint
    assert kept() == [NAME]
    assert not is_cached(archive)


def test_mirrors_are_asked_first_and_in_order(fetch, archive_at, server, refused_url):
    archive = archive_at("right")
    mirrors = (refused_url, *(f"{server.url}/{name}" for name in ("status-503", "tls/", "right")))
    fetch(archive, mirrors=mirrors)
    assert requests_to(server) == [f"/status-503/{NAME}", f"/tls/{NAME}"]
    assert find_file(archive).read_bytes() == CONTENT


def test_content_that_the_user_trusts_comes_from_mirrors_only(fetch, archive_at, server):
    archive = archive_at("tls", sha256="0" * 64, num_bytes=7)
    fetch(archive, mirrors=(f"{server.url}/right/{NAME}",), sha256=SHA256.upper())
    assert find_file(archive).read_bytes() == CONTENT
    with pytest.raises(DownloadError, match="sha256 differs"):
        fetch(archive, mirrors=(f"{server.url}/right",), sha256="1" * 64)
    assert requests_to(server) == [f"/right/{NAME}"] * 2
    assert find_file(archive).read_bytes() == CONTENT


def test_content_that_is_trusted_but_of_another_kind_changes_nothing(
    fetch, kept, archive_at, server
):
    archive = archive_at("right", sha256=hashlib.sha256(b"sound").hexdigest(), num_bytes=5)
    put_in_place(archive, b"sound")

    def check(path):
        assert path.read_bytes() == CONTENT
        raise DataError("it is no archive")

    with pytest.raises(DownloadError, match="the hash is right, but it is no archive"):
        fetch(archive, mirrors=(f"{server.url}/right",), sha256=SHA256, check=check)
    assert kept() == [NAME]
    assert find_file(archive).read_bytes() == b"sound"


def test_no_password_or_token_of_a_mirror_is_shown_or_kept(fetch, archive_at, refused_url):
    archive, urls = archive_at("status-503"), (refused_url, archive_at("short-body").url)
    secrets = [url.replace("//", "//me:secret@") + "?token=secret" for url in urls]
    with pytest.raises(DownloadError, match="broke off") as caught:
        fetch(archive, mirrors=secrets)
    kept = archive.part_path.with_name(f"{archive.part_path.name}.json").read_text()
    for url, text in zip(urls, (caught.value.message, kept), strict=True):
        assert url in text
    assert "secret" not in f"{caught.value.message} {caught.value.hint} {kept}"


def test_credentials_of_netrc_are_sent_over_https_alone(servers, fetch, archive_at, monkeypatch):
    archive, home = archive_at("right"), Path("netrc")
    home.write_text("default login me password secret")
    monkeypatch.setenv("NETRC", str(home))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(servers.authority))
    plain, secure = (f"{each.url}/right" for each in (servers.plain, servers.secure))
    mirrors = (plain, plain.replace("//", "//me:secret@"), f"{servers.secure.url}/redirect", secure)
    for mirror in mirrors:
        fetch(archive, mirrors=[mirror], force=True)
    sent = ["Authorization" in request.headers for request in servers.ledger.requests[NAME]]
    assert sent == [False, True, True, True, True]


def test_offline_makes_no_request(fetch, kept, archive_at, server):
    archive = archive_at("right")
    with pytest.raises(DownloadError, match="--offline") as caught:
        fetch(archive, offline=True)
    assert archive.url in caught.value.hint
    assert requests_to(server) == []
    assert kept() == []


def test_too_little_space_is_found_before_the_download(fetch, archive_at, server):
    with pytest.raises(DownloadError) as caught:
        fetch(archive_at("right", num_bytes=10**18))
    assert caught.value.code == "no_space"
    assert requests_to(server) == []


@pytest.mark.parametrize("behaviour", ["status-503", "wrong-bytes"])
def test_a_failed_forced_download_keeps_the_sound_copy(fetch, archive_at, behaviour):
    fetch(archive_at("right"))
    with pytest.raises(DownloadError):
        fetch(archive_at(behaviour), force=True)
    assert find_file(archive_at("right")).read_bytes() == CONTENT
