"""`alexnet download` from a server on the loopback: from the start, and resumed at half the file.

`python -m benchmarks.download > benchmarks/results/download-HARDWARE.json`. The command is timed
as a whole process; the server sends the file by `sendfile`. In turns with it, what every download
needs: a copy that is flushed to the disk, the hash, and the check of the archive's content. The
archive is the real one if there is one (`--file`, `ALEXNET_TEST_CIFAR10`), else one of noise.
"""

import argparse
import contextlib
import http.server
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_cli.data.datasets import CIFAR10_ARCHIVE, find_dataset
from alexnet_cli.files import sha256_of
from benchmarks import machine
from benchmarks.metrics import summarise
from benchmarks.timing import Work, seconds_of

_BESIDE = machine.ROOT.parent / "shared" / "cifar10" / "cifar-10-binary.tar.gz"
_RECORDS = (10_000, 3_073)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Sends the server's file, from the requested byte on."""

    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_GET(self) -> None:
        requested, size = self.headers["Range"], self.server.file.stat().st_size
        start = int(requested.removeprefix("bytes=").removesuffix("-")) if requested else 0
        self.send_response(206 if requested else 200)
        self.send_header("Content-Length", str(size - start))
        self.send_header("ETag", '"1"')
        if requested:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.end_headers()
        with self.server.file.open("rb") as file:
            self.connection.sendfile(file, start)

    def log_message(self, *_arguments: Any) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    """Serves one file."""

    def __init__(self, file: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.file = file


@contextlib.contextmanager
def _serving(file: Path) -> Iterator[str]:
    """Serve a file and provide the address of its folder."""
    with _Server(file) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def draw_archive(path: Path) -> None:
    """Write an archive of noise with the layout of the real one."""
    generator = np.random.default_rng(0)
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
            records = generator.integers(0, 256, _RECORDS, dtype=np.uint8)
            records[:, 0] = np.arange(len(records)) % 10
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            info.size = records.nbytes
            archive.addfile(info, io.BytesIO(records.tobytes()))


def copy_and_flush(source: Path, target: Path) -> None:
    """Copy a file with `cp` and wait for the disk."""
    subprocess.run(["cp", str(source), str(target)], check=True)
    with target.open("rb") as file:
        os.fsync(file.fileno())


class Contenders:
    """The works to time, and the state of the disk that each needs before.

    Args:
        archive: The file to download.
        url: Its server.
        folder: For the copies and the cache.
    """

    def __init__(self, archive: Path, url: str, folder: Path) -> None:
        self.archive, self.folder = archive, folder
        self.sha256, self.num_bytes = sha256_of(archive), archive.stat().st_size
        self.home = folder / "cache"
        self.reports: dict[str, dict[str, int]] = {}
        self.works: dict[str, Work] = {
            "cold": lambda: self._download("cold", url),
            "there already": lambda: self._download("there already", url),
            "from half": lambda: self._download("from half", url),
            "copy": lambda: copy_and_flush(archive, folder / "copy"),
            "sha256": lambda: sha256_of(archive),
            "look into it": lambda: find_dataset("cifar10").check(archive),
        }

    def prepare(self, name: str) -> None:
        if name == "there already":  # after "cold"
            return
        shutil.rmtree(self.home, ignore_errors=True)
        (self.folder / "copy").unlink(missing_ok=True)
        self.home.mkdir()
        if name == "from half":
            part = replace(CIFAR10_ARCHIVE, sha256=self.sha256).part_path.name
            with self.archive.open("rb") as source, (self.home / part).open("wb") as file:
                file.write(source.read(self.num_bytes // 2))
        os.sync()

    def _download(self, name: str, url: str) -> None:
        command = [sys.executable, "-m", "alexnet_cli", "download", "--mirror", url]
        result = subprocess.run(
            [*command, "--sha256", self.sha256, "--json", "--quiet"],
            env={**os.environ, "ALEXNET_HOME": str(self.home)},
            check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        (row,) = json.loads(result.stdout)["files"]
        self.reports[name] = {key: row[key] for key in ("resumed_bytes", "fetched_bytes")}


def measure(archive: Path, repeats: int) -> dict[str, Any]:
    """Time the contenders in turns."""
    result = machine.new_result("download")
    with tempfile.TemporaryDirectory() as name, _serving(archive) as url:
        contenders = Contenders(archive, url, Path(name))
        seconds: dict[str, list[float]] = {contender: [] for contender in contenders.works}
        for number in range(repeats + 1):
            for contender, work in contenders.works.items():
                contenders.prepare(contender)
                elapsed = seconds_of(work, machine.CPU)
                if number:  # the first round warms up
                    seconds[contender].append(round(elapsed, 3))
    return {
        **result, "num_bytes": contenders.num_bytes, "sha256": contenders.sha256,
        "bytes": contenders.reports, "rounds": seconds,
        "seconds": {name: summarise(samples) for name, samples in seconds.items()},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    here = Path(os.environ.get("ALEXNET_TEST_CIFAR10", _BESIDE))
    parser.add_argument("--file", type=Path, default=here, help="the archive to download")
    parser.add_argument("--repeats", type=int, default=5, help="rounds that count")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        archive = given.file
        if not archive.is_file():
            archive = Path(name) / CIFAR10_ARCHIVE.name
            draw_archive(archive)
        machine.write_result(measure(archive, given.repeats), None)


if __name__ == "__main__":
    main()
