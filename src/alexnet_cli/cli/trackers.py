"""The experiment trackers that `alexnet train` was asked for."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from alexnet_cli.console import note

if TYPE_CHECKING:
    from alexnet_cli.tracking.reporting import TrackingReporter
    from alexnet_cli.tracking.tracker import TrackerName
    from alexnet_cli.training.setup import TrainingRun


def chosen_trackers(switches: dict[str, bool]) -> "list[TrackerName]":
    """Return the trackers asked for.

    Raises:
        UsageError: One is not installed.
    """
    if not any(switches.values()):
        return []
    from alexnet_cli.tracking.tracker import TrackerName, require_package

    names = [TrackerName(name) for name, is_on in switches.items() if is_on]
    for name in names:
        require_package(name)
    return names


@contextlib.contextmanager
def tracking(
    names: "list[TrackerName]", job: "TrainingRun", *, first_epoch: int
) -> "Iterator[list[TrackingReporter]]":
    """Open trackers, and close them however training ends."""
    if not names:
        yield []
        return
    from alexnet_cli.tracking.reporting import TrackingReporter
    from alexnet_cli.tracking.tracker import open_tracker

    with contextlib.ExitStack() as open_ones:
        reporters = []
        for name in names:
            tracker = open_tracker(name, job.run, first_epoch=first_epoch)
            reporters.append(TrackingReporter(tracker, job, note))
            open_ones.callback(reporters[-1].close)
        yield reporters
