"""Fixtures for every test: isolated folders, the command in a process, small archives."""

import io
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from alexnet_cli.manifest import InputSpec, Manifest, Network, NetworkSpec, Provenance

Run = Callable[..., subprocess.CompletedProcess[str]]

# Tiny on purpose: an epoch of 1,000 images of 8 px takes about a second.
TINY = ("--data", "shapes", "--image-size", "12", "--crop-size", "8", "--val-size", "9000")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
REAL_ARCHIVE_SHA256 = "4126b3259271dd93052fcf0397a2136ea3abea03075fc6ee59458f7b52273d84"


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> None:
    """Let SIGINT through: a runner started in the background ignores it, and its children too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
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


@pytest.fixture
def alexnet() -> Run:
    """Run `alexnet` with these arguments in the current folder."""

    def run(
        *arguments: str | Path,
        env: dict[str, str] | None = None,
        timeout_seconds: float = 200,
    ) -> subprocess.CompletedProcess[str]:
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
def alexnet_here(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run `alexnet` in this process: for tests of many commands, which need not start Python."""
    from alexnet_cli.cli.app import main

    def run(
        *arguments: str | Path,
        env: dict[str, str] | None = None,
        timeout_seconds: float = 200,
    ) -> subprocess.CompletedProcess[str]:
        words, handlers = list(map(str, arguments)), [signal.getsignal(n) for n in _SIGNALS]
        capfd.readouterr()
        try:
            main(words)
        except SystemExit as error:
            status = int(error.code or 0)
        finally:
            for number, handler in zip(_SIGNALS, handlers, strict=True):
                signal.signal(number, handler)
        output = capfd.readouterr()
        return subprocess.CompletedProcess(words, status, output.out, output.err)

    return run


@pytest.fixture(scope="session")
def real_archive() -> Path:
    """The real CIFAR-10 archive, where it is at hand."""
    beside = Path(__file__).parents[2] / "shared" / "cifar10" / "cifar-10-binary.tar.gz"
    path = Path(os.environ.get("ALEXNET_TEST_CIFAR10", beside))
    if not path.is_file():
        pytest.skip(f"no CIFAR-10 archive at {path}")
    return path


def synthetic_records(seed: int) -> bytes:
    """10,000 records of the binary layout: label byte, then red, green, blue planes."""
    labels = np.arange(10_000) % 10
    records = np.zeros((10_000, 3073), np.uint8)
    records[:, 0] = labels
    records[:, 1:1025] = (labels * 20 + seed)[:, None]
    records[:, 1025:2049] = 7
    records[:, 2049:] = np.arange(1024) % 251
    return records.tobytes()


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    """Write a fast gzip-compressed tar."""
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture(scope="session")
def synthetic_members() -> Callable[[], dict[str, bytes]]:
    """The six files of the binary archive, with synthetic images."""
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    return lambda: {
        f"cifar-10-batches-bin/{name}": synthetic_records(seed) for seed, name in enumerate(names)
    }


@pytest.fixture(scope="session")
def synthetic_archive(
    tmp_path_factory: pytest.TempPathFactory, synthetic_members: Callable[[], dict[str, bytes]]
) -> Path:
    """A whole archive of the binary layout with synthetic images."""
    folder = tmp_path_factory.mktemp("archive")
    return write_tar(folder / "synthetic.tar.gz", synthetic_members())


@dataclass(frozen=True)
class ExportedNetwork:
    """A network with non-zero biases, and its files."""

    core: object
    pixels: object
    manifest: Manifest
    images_BSSC: np.ndarray
    whole: Path
    shared: Path


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ExportedNetwork:
    """`whole` holds independent files, `shared` a graph that refers to the weights beside it."""
    import torch

    from alexnet_cli.export.parity import Compared
    from alexnet_cli.export.settings import ExportSettings, Format
    from alexnet_cli.export.write import export_model
    from alexnet_cli.models.build import build_network
    from alexnet_cli.models.normalise import PixelNetwork

    manifest = Manifest(
        network=NetworkSpec(Network.ALEXNET_CIFAR, num_classes=5, crop_size_px=8),
        input=InputSpec(12, 8, scale=(0.02, 0.015, 0.01), shift=(-2.5, -2.0, -1.5)),
        classes=("ant", "bee", "cat", "dog", "élan"),
        provenance=Provenance("shapes", 5, 20, 3, 0.5, "0" * 64, {"torch": "2"}),
    )
    core = build_network(manifest.network, seed=1)
    draw = np.random.default_rng(3)
    colours, noise = draw.integers(0, 200, (40, 1, 1, 3)), draw.integers(0, 56, (40, 8, 8, 3))
    images = (colours + noise).astype(np.uint8)  # each has its own colour, so that answers differ
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in core.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.1, generator=generator)
        core.classifier[7].weight.mul_(30)  # far from ties
        pixels = PixelNetwork(core, manifest.input).eval()
        core.classifier[7].bias.sub_(pixels(torch.from_numpy(images)).mean(dim=0))
    folders = [tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("shared")]
    for folder in folders:
        settings = ExportSettings(Format.ALL, shared_weights=folder is folders[1])
        written = export_model(core, manifest, folder, settings, Compared(images))
    return ExportedNetwork(core, pixels, written[0].manifest, images, *folders)
