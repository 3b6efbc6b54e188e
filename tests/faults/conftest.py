"""Faults that are planted in real processes, files and disks.

`ALEXNET_TEST_FAULTS=long` (as `nox -s faults` sets it) takes the counts of the nightly suite.
"""

import os
from collections.abc import Callable

import pytest

IS_LONG = os.environ.get("ALEXNET_TEST_FAULTS") == "long"
_FIGURES: list[str] = []


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of several processes on few cores wait for each other."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Have a figure printed at the end of the session."""
    name = request.node.name
    return lambda figure: _FIGURES.append(f"{name}: {figure}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures."""
    if _FIGURES:
        terminalreporter.section("faults")
        for figure in _FIGURES:
            terminalreporter.write_line(figure)
