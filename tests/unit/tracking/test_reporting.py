import numpy as np

from alexnet_cli.tracking.tracker import Tracker


class Kept(Tracker):
    """Keeps what it is told, until it fails."""

    errors = (LookupError,)

    def __init__(self, *, fails_after=100, error=OSError):
        self.told, self.fails_after, self.error = [], fails_after, error

    def _keep(self, *what):
        if len(self.told) == self.fails_after:
            raise self.error("the disk is full")
        self.told.append(what)

    def log_settings(self, settings):
        self._keep("settings", dict(settings))

    def log_scalars(self, scalars, *, epoch):
        self._keep("scalars", dict(scalars), epoch)

    def log_image(self, name, image_HW3, *, epoch):
        self._keep(name, image_HW3, epoch)

    def close(self):
        self._keep("close")


def test_all_of_a_run_is_passed_on_in_order(track):
    tracker = Kept()
    assert track(tracker) == []
    names = [what[0] for what in tracker.told]
    assert names == ["settings", "images", "filters", *["filters", "scalars"] * 2, "close"]
    assert tracker.told[0][1]["momentum"] == 0.8
    scalars, epoch = tracker.told[4][1:]
    assert (epoch, scalars["train/loss"], scalars["val/top1"]) == (1, 1.0, 0.2)
    assert scalars["learning_rate"] == 0.1


def test_images_are_the_crops_of_a_validation(track, job):
    tracker = Kept()
    track(tracker)
    (sheet,) = (what[1] for what in tracker.told if what[0] == "images")
    first = job.val.images_NHWC[0, 2:10, 2:10]
    assert np.array_equal(sheet[1:9, 1:9], first)


def test_each_filter_is_shown_from_its_least_to_its_greatest_weight(track):
    tracker = Kept()
    track(tracker)
    filters = next(what[1] for what in tracker.told if what[0] == "filters")
    assert filters.dtype == np.uint8
    tile = filters[1:6, 1:6]  # 5x5 filters with gaps of one pixel
    assert (tile.min(), tile.max()) == (0, 255)


def test_a_tracker_that_fails_is_told_once_and_left_alone(track):
    for error in (OSError, LookupError):
        tracker = Kept(fails_after=3, error=error)
        (warning,) = track(tracker)
        assert "training goes on" in warning
        assert "the disk is full" in warning
        assert len(tracker.told) == 3
