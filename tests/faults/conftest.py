"""Faults that are planted in real processes, files and disks.

The default command runs a few of each kind, `nox -s full` more; `ALEXNET_TEST_FAULTS=long` (as
`nox -s faults` sets it) takes the counts of the nightly suite.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alexnet_cli.manifest import InputSpec, Manifest, Provenance
from alexnet_cli.networks import Network, network_spec
from tests.conftest import made_once
from tests.made_runs import make_images

IS_LONG = os.environ.get("ALEXNET_TEST_FAULTS") == "long"
_FIGURES: list[str] = []


def few_or(many: int, *, few: int, long: int) -> list[object]:
    """Return a count for the default command, and one for the suites that take their time."""
    timeout = pytest.mark.timeout(3_600 if IS_LONG else 300)
    slow = pytest.param(long if IS_LONG else many, id="many", marks=[pytest.mark.slow, timeout])
    return [pytest.param(few, id="few"), slow]


def wait_until(
    condition: Callable[[], bool], *processes: "subprocess.Popen[Any]", seconds: float = 100
) -> None:
    """Wait for something that must come, while these processes live."""
    end = time.monotonic() + seconds
    while not condition():
        ended = [process for process in processes if process.poll() is not None]
        if ended:
            raise AssertionError(f"ended with {ended[0].returncode}: {ended[0].communicate()}")
        assert time.monotonic() < end, f"it did not come in {seconds:.0f} seconds"
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Threads of several processes on few cores wait for each other; here there are as many."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def compiled(every_worker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder in which the kernel that a training compiles is found by the next one."""
    monkeypatch.setenv("ALEXNET_HOME", str(every_worker / "cache"))


@pytest.fixture(scope="session")
def few_images(every_worker: Path) -> Path:
    """A folder of two classes with 20 images each: an epoch of them takes no time."""
    return made_once(
        every_worker / "few-images",
        lambda folder: make_images(folder, ("ant", "bee"), per_class=20),
    )


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Have a figure printed at the end of the session."""
    name = request.node.name
    return lambda figure: _FIGURES.append(f"{name}: {figure}")


@pytest.fixture(scope="session")
def exports(every_worker: Path) -> Path:
    """A small network: `whole` has independent files, `shared` a graph beside its weights."""
    return made_once(every_worker / "small-exports", _export)


def _export(folder: Path) -> None:
    from alexnet_cli.export.parity import Compared
    from alexnet_cli.export.settings import ExportSettings, Format
    from alexnet_cli.export.write import export_model
    from alexnet_cli.models.build import build_network

    spec = network_spec(Network.CUDA_CONVNET_80SEC, num_classes=3, crop_size_px=16)
    scaling = InputSpec(16, 16, scale=(0.02, 0.02, 0.02), shift=(-2.0, -2.0, -2.0))
    origin = Provenance("shapes", 5, 20, 3, 0.5, "0" * 64, {"torch": "2"})
    for name in ("whole", "shared"):
        (folder / name).mkdir()
        export_model(
            build_network(spec, seed=1),
            Manifest(spec, scaling, ("a", "b", "c"), origin),
            folder / name,
            ExportSettings(Format.ALL, shared_weights=name == "shared"),
            Compared(np.zeros((2, 16, 16, 3), np.uint8)),
        )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures."""
    if _FIGURES:
        terminalreporter.section("faults")
        for figure in _FIGURES:
            terminalreporter.write_line(figure)
