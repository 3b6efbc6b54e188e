"""Part `checkpoint`: the time that a save inside an epoch costs.

The same updates, with and without a save after the first: the copy, and the thread that writes
while training continues. The difference is compared with one percent of the default interval.
"""

import functools
import tempfile
from pathlib import Path

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.run_folder import SAVE_MINUTES, RunFolder
from benchmarks import alexnet_side, images
from benchmarks.metrics import Comparison, Goal
from benchmarks.settings import Settings
from benchmarks.timing import Work, alternate


def measure(settings: Settings) -> list[Comparison]:
    """Compare the cost of a save with one percent of the default interval between saves."""
    train, _ = images.load(settings.data)
    config = TrainConfig(data=settings.data, batch_size=settings.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder) / "run")
        trainer = alexnet_side.make_trainer(config, train, device=settings.device, run=run)
        update = functools.partial(alexnet_side.update, trainer, alexnet_side.one_batch(trainer))
        seconds = alternate(
            _works(update, functools.partial(alexnet_side.save, trainer), settings.save_updates),
            repeats=settings.repeats,
            device=settings.device,
        )
    percent = 60 * SAVE_MINUTES / 100
    pairs = zip(seconds["with"], seconds["without"], strict=True)
    lost = [with_save - without for with_save, without in pairs]
    what = f"lost by a save among {settings.save_updates} updates, {config.model}"
    peer, goal = "1 % of the interval", Goal("<=", 1)
    return [Comparison("checkpoint", what, peer, "s", lost, [percent] * len(lost), goal=goal)]


def _works(update: Work, save: Work, num_updates: int) -> dict[str, Work]:
    def updates(*, saves: bool) -> None:
        for number in range(num_updates):
            update()
            if saves and number == 0:
                save()

    return {
        "with": functools.partial(updates, saves=True),
        "without": functools.partial(updates, saves=False),
    }
