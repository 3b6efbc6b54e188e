import errno
import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet_cli.errors import AlexnetError, TrainingError
from alexnet_cli.files import (
    atomic_move,
    atomic_write,
    cache_folder,
    keep_library,
    kept_libraries,
    lock_folder,
    sha256_of,
    write_new,
)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def run_python(program, *arguments):
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_cache_folder_is_the_one_in_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ALEXNET_HOME", "~/mine")
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("ALEXNET_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    if sys.platform == "linux":
        assert cache_folder() == tmp_path / "xdg" / "alexnet"
    assert cache_folder().name == "alexnet"
    assert cache_folder().is_absolute()


@pytest.mark.parametrize("num_bytes", [0, 1, 1 << 20, (1 << 20) + 1])
def test_sha256_is_that_of_the_whole_file(tmp_path, num_bytes):
    content = (b"0123456789abcdef!" * (num_bytes // 17 + 1))[:num_bytes]
    path = tmp_path / "file"
    path.write_bytes(content)
    chunks = []
    assert sha256_of(path, chunks.append) == hashlib.sha256(content).hexdigest()
    assert sum(chunks) == num_bytes
    assert sha256_of(path, start=5) == hashlib.sha256(content[5:]).hexdigest()


def test_atomic_write_creates_folders_and_replaces_content(tmp_path):
    path = tmp_path / "deep" / "er" / "file.bin"
    atomic_write(path, b"a longer first content")
    atomic_write(path, b"second")
    assert path.read_bytes() == b"second"
    assert names_in(path.parent) == ["file.bin"]


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
@pytest.mark.parametrize(("mask", "mode"), [("0o022", 0o644), ("0o077", 0o600)])
def test_atomic_write_gives_the_permissions_of_an_ordinary_new_file(tmp_path, mask, mode):
    # A process of its own, because the umask belongs to the process.
    program = (
        f"import os, sys; from pathlib import Path; os.umask({mask})\n"
        "from alexnet_cli.files import atomic_write\n"
        "atomic_write(Path(sys.argv[1]), b'x')\n"
        f"assert os.umask(0) == {mask}, 'the umask was changed'"
    )
    done = run_python(program, tmp_path / "file")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_a_full_disk_is_named_as_such():
    # /dev/full itself cannot be replaced; the message is checked where the error is made.
    from alexnet_cli.files import writing_error

    try:
        with Path("/dev/full").open("wb", buffering=0) as full:
            full.write(b"x")
    except FileNotFoundError:
        pytest.skip("no /dev/full")
    except OSError as error:
        described = writing_error(Path("model.onnx"), error)
    assert described.code == "no_space"
    assert "model.onnx" in described.message


@pytest.mark.parametrize("obstacle", ["the parent is a file", "the target is a folder"])
def test_an_impossible_target_is_an_error_with_path_and_hint(isolated, obstacle):
    (isolated / "file").write_bytes(b"kept")
    (isolated / "folder").mkdir()
    name = "file/below" if obstacle == "the parent is a file" else "folder"
    with pytest.raises(AlexnetError) as caught:
        atomic_write(isolated / name, b"x")
    assert caught.value.code == "not_writable"
    assert str(isolated / name) in caught.value.message
    assert caught.value.hint
    assert names_in(isolated) == ["file", "folder"]
    assert (isolated / "file").read_bytes() == b"kept"


def test_a_moved_file_has_the_mode_that_the_umask_allows(tmp_path):
    source, target, created = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    created.touch()
    source.write_bytes(b"new")
    source.chmod(0o600)
    target.write_bytes(b"old")
    atomic_move(source, target)
    assert target.read_bytes() == b"new"
    assert not source.exists()
    assert target.stat().st_mode == created.stat().st_mode
    with pytest.raises(AlexnetError):
        atomic_move(source, target)


def test_a_lock_folder_refuses_another_process(tmp_path):
    busy = TrainingError("another process is training", code="run_busy")
    take = (
        "import sys; from pathlib import Path\n"
        "from alexnet_cli.errors import AlexnetError\n"
        "from alexnet_cli.files import lock_folder\n"
        "with lock_folder(Path(sys.argv[1]), busy=AlexnetError('busy')): print('taken')\n"
    )
    with lock_folder(tmp_path / "new", busy=busy):
        refused = run_python(take, tmp_path / "new")
    assert refused.stdout == ""
    assert refused.stderr.endswith("AlexnetError: busy\n")
    assert names_in(tmp_path / "new") == []  # the lock file is gone
    assert run_python(take, tmp_path / "new").stdout == "taken\n"
    (tmp_path / "file").touch()
    with pytest.raises(AlexnetError) as caught, lock_folder(tmp_path / "file", busy=busy):
        pass
    assert caught.value.code == "not_writable"


def test_processes_that_remove_the_lock_file_still_exclude_each_other(tmp_path):
    increment = (
        "import sys; from pathlib import Path\n"
        "from filelock import FileLock\n"
        "from alexnet_cli.files import release\n"
        "count = Path(sys.argv[1])\n"
        "for _ in range(100):\n"
        "    lock = FileLock(f'{count}.lock')\n"
        "    lock.acquire(poll_interval=0.001)\n"
        "    count.write_text(str(int(count.read_text()) + 1))\n"
        "    release(lock)\n"
    )
    (tmp_path / "count").write_text("0")
    command = [sys.executable, "-c", increment, str(tmp_path / "count")]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "300"
    assert not (tmp_path / "count.lock").exists()


def test_a_library_is_executed_only_as_it_was_kept(tmp_path):
    folder = tmp_path / "kernels"
    path = keep_library(b"a library", folder, "lrn-1")
    assert list(kept_libraries(folder, "lrn-1")) == [path]
    assert not list(kept_libraries(folder, "lrn-2"))
    for damage in (b"", b"another library"):
        path.write_bytes(damage)
        assert not list(kept_libraries(folder))
    assert keep_library(b"a library", folder, "lrn-1") == path
    for opened in (path, folder):
        opened.chmod(0o777)
        assert not list(kept_libraries(folder)), opened
        keep_library(b"a library", folder, "lrn-1")
        assert list(kept_libraries(folder)) == [path]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("given", ["file", "folder"])
def test_a_library_of_another_user_is_not_executed(tmp_path, given):
    folder = tmp_path / "kernels"
    path = keep_library(b"a library", folder, "lrn-1")
    os.chown(path if given == "file" else folder, 12345, 12345)
    assert not list(kept_libraries(folder))
    if given == "folder":
        assert keep_library(b"a library", folder, "lrn-1") is None


def test_where_nothing_can_be_kept_there_is_no_error(tmp_path):
    (tmp_path / "file").touch()
    assert keep_library(b"a library", tmp_path / "file" / "kernels", "lrn-1") is None


class FullAfterward(io.BytesIO):
    def read(self, size=-1):
        if self.tell():
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().read(size)


def test_a_new_file_is_complete_or_not_there(tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    with pytest.raises(AlexnetError) as caught:
        write_new(folder / "a", FullAfterward(b"content"))
    assert caught.value.code == "no_space"
    assert names_in(folder) == []
    write_new(folder / "a", io.BytesIO(b"content"))
    with pytest.raises(FileExistsError):
        write_new(folder / "a", io.BytesIO(b"other"))
    assert names_in(folder) == ["a"]
    assert (folder / "a").read_bytes() == b"content"


def test_a_new_file_where_there_are_no_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    write_new(tmp_path / "a", io.BytesIO(b"content"))
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "a", io.BytesIO(b"other"))
    assert (tmp_path / "a").read_bytes() == b"content"
