"""Runs that are killed or stopped at random moments end in the bytes of one that is not."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from alexnet_cli.training.verification import KilledRun
from tests.conftest import Run
from tests.faults.conftest import IS_LONG

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3_600 if IS_LONG else 300)]

_MOSTLY_VALIDATION = {"val_size": 9_900, "batch_size": 25, "epochs": 60 if IS_LONG else 12}


def test_a_killed_run_ends_in_the_same_bytes(alexnet: Run, report: Callable[[str], None]) -> None:
    """SIGKILL, through the command that shows it."""
    kills, epochs = (100, 30) if IS_LONG else (10, 3)
    result = alexnet(
        "verify-resume", "--kills", str(kills), "--epochs", str(epochs), "--json",
        timeout_seconds=3_600,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert [each["name"] for each in document["comparisons"] if not each["is_same"]] == []
    assert len({each["whole"] for each in document["comparisons"]}) >= 3
    num_kills = sum(attempt["killed"] for attempt in document["attempts"])
    report(f"{num_kills} kills, the same bytes")
    assert num_kills >= kills // 2  # a fast machine may be at the end before
    assert document["attempts"][-1]["saved_step"] == 125 * epochs


@pytest.mark.parametrize("settings", [{}, _MOSTLY_VALIDATION], ids=["training", "validation"])
def test_a_stopped_run_saves_in_time_and_ends_in_the_same_bytes(
    settings: dict[str, int], tmp_path: Path, report: Callable[[str], None]
) -> None:
    num_signals = 20 if IS_LONG else 3
    folder = tmp_path / "runs"
    folder.mkdir()
    run = KilledRun(settings, folder, ["--save-minutes", "0", "--device", "cpu"])
    run.train_whole()
    attempts = list(run.train_killed(num_signals, seed=1, by=signal.SIGTERM))
    stopped = [attempt for attempt in attempts if attempt.killed]
    assert stopped
    slowest = max(attempt.exit_seconds for attempt in stopped)
    report(f"{len(stopped)} SIGTERM, at most {slowest:.1f} s to the end")
    assert slowest < 10
    assert all(attempt.saved_step for attempt in stopped)  # nothing is lost
    assert all(each.is_same for each in run.compare())
