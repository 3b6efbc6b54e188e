"""Faults that are planted in real processes, files and disks.

The default command runs a few of each kind, `nox -s full` more; `ALEXNET_TEST_FAULTS=long` (as
`nox -s faults` sets it) takes the counts of the nightly suite.
"""

import os
import time

import pytest
import torch

from alexnet_cli.networks import Network, network_spec
from tests.conftest import made_once
from tests.made_runs import export_drawn, make_images

IS_LONG = os.environ.get("ALEXNET_TEST_FAULTS") == "long"
_FIGURES: list[str] = []


def few_or(many, *, few, long):
    """Return a count for the default command, and one for the suites that take their time."""
    timeout = pytest.mark.timeout(3_600 if IS_LONG else 300)
    slow = pytest.param(long if IS_LONG else many, id="many", marks=[pytest.mark.slow, timeout])
    return [pytest.param(few, id="few"), slow]


def wait_until(condition, *processes, seconds=100):
    """Wait for something that must come, while these processes live."""
    end = time.monotonic() + seconds
    while not condition():
        ended = [process for process in processes if process.poll() is not None]
        if ended:
            raise AssertionError(f"ended with {ended[0].returncode}: {ended[0].communicate()}")
        assert time.monotonic() < end, f"it did not come in {seconds:.0f} seconds"
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Threads of several processes on few cores wait for each other; here there are as many."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def compiled(every_worker, monkeypatch):
    """A cache folder in which the kernel that a training compiles is found by the next one."""
    monkeypatch.setenv("ALEXNET_HOME", str(every_worker / "cache"))


@pytest.fixture(scope="session")
def few_images(every_worker):
    """A folder of two classes with 20 images each: an epoch of them takes no time."""
    return made_once(
        every_worker / "few-images",
        lambda folder: make_images(folder, ("ant", "bee"), per_class=20),
    )


@pytest.fixture
def report(request):
    """Have a figure printed at the end of the session."""
    name = request.node.name
    return lambda figure: _FIGURES.append(f"{name}: {figure}")


@pytest.fixture(scope="session")
def exports(every_worker):
    """A small network: `whole` has independent files, `shared` a graph beside its weights."""
    return made_once(every_worker / "small-exports", _export)


def _export(folder):
    from alexnet_cli.export.settings import Format

    spec = network_spec(Network.CUDA_CONVNET_80SEC, num_classes=3, crop_size_px=16)
    for name in ("whole", "shared"):
        (folder / name).mkdir()
        export_drawn(spec, folder / name, file_format=Format.ALL, shared_weights=name == "shared")


def pytest_terminal_summary(terminalreporter):
    """Print the figures."""
    if _FIGURES:
        terminalreporter.section("faults")
        for figure in _FIGURES:
            terminalreporter.write_line(figure)
