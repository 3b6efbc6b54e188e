"""Fixtures for every test: isolated folders, the command, small archives, small models."""

import contextlib
import ctypes
import gc
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from filelock import FileLock

from alexnet_cli import inference  # noqa: F401 - sets a variable for good
from alexnet_cli.data.cifar import CIFAR10
from alexnet_cli.manifest import InputSpec, Manifest, Provenance, manifest_from_json
from alexnet_cli.networks import Network, NetworkSpec

Run = Callable[..., subprocess.CompletedProcess[str]]

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("alexnet", deadline=None)
hypothesis.settings.load_profile("alexnet")

# For tests of `--data shapes` itself: 10,000 images are drawn, and 9,000 validated on.
TINY = ("--data", "shapes", "--image-size", "12", "--crop-size", "8", "--val-size", "9000")
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
REAL_ARCHIVE_SHA256 = "4126b3259271dd93052fcf0397a2136ea3abea03075fc6ee59458f7b52273d84"


@pytest.fixture(autouse=True, scope="session")
def interruptible():
    """Let SIGINT through: a runner started in the background ignores it, and its children too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def no_home(every_worker):
    """Keep what session fixtures run out of the user's cache folder."""
    os.environ["ALEXNET_HOME"] = str(every_worker / "cache")


@pytest.fixture(autouse=True)
def isolated(tmp_path, monkeypatch):
    """Give each test its own cache folder and its own working folder."""
    for name in [name for name in os.environ if name.startswith("ALEXNET_")]:
        if name != "ALEXNET_TEST_CIFAR10":
            monkeypatch.delenv(name)
    monkeypatch.setenv("ALEXNET_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("ALEXNET_PLOTS", "0")  # two seconds of every short training
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.fixture(autouse=True)
def memory_goes_back():
    """Undo `keep_freed_memory`, which a training sets for its whole process: workers grow by it."""
    yield
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # only glibc has it
        libc.mallopt(_M_MMAP_MAX, 65_536)
        libc.mallopt(_M_TRIM_THRESHOLD, 128 << 10)
        libc.malloc_trim(0)


@pytest.fixture(scope="session")
def every_worker(tmp_path_factory):
    """A folder of all processes that run tests in this session."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def made_once(folder, make):
    """Return a folder that the first process to want it has made; the others wait for it."""
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            begun = folder.with_name(f"{folder.name}-begun")
            shutil.rmtree(begun, ignore_errors=True)
            begun.mkdir(parents=True)
            make(begun)
            begun.rename(folder)
    return folder


@pytest.fixture
def alexnet_process():
    """Run `alexnet` in a process of its own: for what only a process shows."""

    def run(*arguments, env=None, timeout_seconds=200):
        return subprocess.run(
            [sys.executable, "-m", "alexnet_cli", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_seconds,
            env={**os.environ, "COLUMNS": "120", **(env or {})},
        )

    return run


@pytest.fixture
def alexnet(capfd):
    """Run `alexnet` with these arguments in this process and the current folder.

    It leaves behind what it imported, and what that keeps; see `_as_it_was`.
    """

    def run(*arguments, env=None, stdin=b""):
        words = list(map(str, arguments))
        capfd.readouterr()
        with tempfile.TemporaryFile("w+") as file:
            file.buffer.write(stdin)
            file.seek(0)
            status = _status_of(words, env or {}, file)
        output = capfd.readouterr()
        return subprocess.CompletedProcess(words, status, output.out, output.err)

    return run


def run_here(*words):
    """Run `alexnet`, which must succeed, for fixtures of a session."""
    with Path(os.devnull).open() as nothing:
        assert _status_of(list(words), {}, nothing) == 0


def _status_of(words, env, stdin):
    """Run the command line; an exception ends it as it would end the process."""
    from alexnet_cli.cli.main import run

    with _as_it_was():
        os.environ.update({"COLUMNS": "120", **env})
        sys.argv, sys.stdin = ["alexnet", *words], stdin
        try:
            return run(words)
        except SystemExit as error:
            return int(error.code or 0)
        except Exception:
            traceback.print_exc()
    return 1


@contextlib.contextmanager
def _as_it_was():
    """Give back what a command may change in its process."""
    environment, argv, stdin = dict(os.environ), sys.argv, sys.stdin
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    numbers, torch = (random.getstate(), np.random.get_state()), sys.modules.get("torch")  # noqa: NPY002
    if torch is not None:
        tensors, threads = torch.get_rng_state(), torch.get_num_threads()
        is_exact = torch.are_deterministic_algorithms_enabled()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        sys.argv, sys.stdin = argv, stdin
        for number, handler in handlers.items():
            signal.signal(number, handler)
        gc.enable()
        random.setstate(numbers[0])
        np.random.set_state(numbers[1])  # noqa: NPY002
        if torch is not None:
            torch.set_rng_state(tensors)
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(is_exact)


@pytest.fixture(scope="session")
def real_archive():
    """The real CIFAR-10 archive, where it is at hand."""
    beside = Path(__file__).parents[2] / "shared" / "cifar10" / "cifar-10-binary.tar.gz"
    path = Path(os.environ.get("ALEXNET_TEST_CIFAR10", beside))
    if not path.is_file():
        pytest.skip(f"no CIFAR-10 archive at {path}")
    return path


def synthetic_records(seed):
    """10,000 records of the binary layout: label byte, then red, green, blue planes."""
    labels = np.arange(10_000) % 10
    records = np.zeros((10_000, 3073), np.uint8)
    records[:, 0] = labels
    records[:, 1:1025] = (labels * 20 + seed)[:, None]
    records[:, 1025:2049] = 7
    records[:, 2049:] = np.arange(1024) % 251
    return records.tobytes()


def write_tar(path, members):
    """Write a fast gzip-compressed tar."""
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture(scope="session")
def synthetic_archive(tmp_path_factory):
    """A whole archive of the binary layout with synthetic images."""
    members = {name: synthetic_records(seed) for seed, name in enumerate(CIFAR10.binary)}
    return write_tar(tmp_path_factory.mktemp("archive") / "synthetic.tar.gz", members)


@dataclass(frozen=True)
class ExportedNetwork:
    """A network with non-zero biases, and its files."""

    network: object
    pixels: object
    manifest: Manifest
    images_BSSC: np.ndarray
    whole: Path
    shared: Path


@pytest.fixture(scope="session")
def exported(every_worker):
    """`whole` holds independent files, `shared` a graph that refers to the weights beside it."""
    import torch

    from alexnet_cli.export.settings import Compared, ExportSettings, Format
    from alexnet_cli.export.write import export_model
    from alexnet_cli.models.build import PixelNetwork, build_network

    manifest = Manifest(
        network=NetworkSpec(Network.ALEXNET_CIFAR, num_classes=5, crop_size_px=8),
        input=InputSpec(12, 8, scale=(0.02, 0.015, 0.01), shift=(-2.5, -2.0, -1.5)),
        classes=("ant", "bee", "cat", "dog", "élan"),
        provenance=Provenance("shapes", 5, 20, 3, 0.5, "0" * 64, {"torch": "2"}),
    )
    network = build_network(manifest.network, seed=1)
    draw = np.random.default_rng(3)
    colours, noise = draw.integers(0, 200, (40, 1, 1, 3)), draw.integers(0, 56, (40, 8, 8, 3))
    images = (colours + noise).astype(np.uint8)  # each has its own colour, so that answers differ
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.1, generator=generator)
        network.classifier[7].weight.mul_(30)  # far from ties
        pixels = PixelNetwork(network, manifest.input).eval()
        network.classifier[7].bias.sub_(pixels(torch.from_numpy(images)).mean(dim=0))

    def make(folder):
        for name in ("whole", "shared"):
            (folder / name).mkdir()
            settings = ExportSettings(Format.ALL, shared_weights=name == "shared")
            written = export_model(network, manifest, folder / name, settings, Compared(images))
            if name == "whole":
                (folder / "manifest.json").write_text(written[0].manifest.to_json())

    folder = made_once(every_worker / "exported", make)
    described = manifest_from_json((folder / "manifest.json").read_text(), source="")
    return ExportedNetwork(network, pixels, described, images, folder / "whole", folder / "shared")
