"""Part `epoch`: an epoch with its data path, against its updates alone and against the peers.

On a CPU only the last batches of the epoch are run (`Settings.epoch_batches`); each side still
shuffles and prepares the entire epoch.
"""

import functools
from pathlib import Path

import numpy as np

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.manifest import Manifest
from benchmarks import alexnet_side, images, peers, plain_loop
from benchmarks.isolated_process import isolated_process
from benchmarks.metrics import Comparison, Goal
from benchmarks.settings import Settings
from benchmarks.timing import Work, alternate, times

_OURS, _STEPS, _PLAIN, _TIMM = "ours", "its updates alone", "plain loop", "timm's loop"


def measure(settings: Settings) -> list[Comparison]:
    """Compare an epoch of this project with its own updates, and with the peers' epochs."""
    train, test = images.load(settings.data)
    size = settings.batch_size
    num_batches = len(train) // size
    count = min(settings.epoch_batches or num_batches, num_batches)
    manifest = alexnet_side.describe(_config(settings), train)
    with (
        images.plain_files(train, test) as folder,
        isolated_process(build_alexnet, settings, count, device=settings.device) as works,
    ):
        peers_works = _peers(settings, manifest, folder, count)
        seconds = alternate(
            works | peers_works, repeats=settings.long_repeats, device=settings.device
        )
    rates = {name: [count * size / s for s in samples] for name, samples in seconds.items()}
    what = f"{count} of {num_batches} batches of {size}, {settings.data}"
    comparisons = [
        Comparison(
            "epoch", what, _STEPS, "s", seconds[_OURS], seconds[_STEPS], goal=Goal("<=", 1.05)
        )
    ]
    comparisons += [
        Comparison("epoch", what, peer, "images/s", rates[_OURS], rates[peer])
        for peer in (_PLAIN, _TIMM)
        if peer in rates
    ]
    return comparisons


def _config(settings: Settings) -> TrainConfig:
    return TrainConfig(
        data=settings.data, crop_size=settings.crops_px[0], batch_size=settings.batch_size
    )


def build_alexnet(settings: Settings, count: int) -> dict[str, Work]:
    """Return the last `count` batches of an epoch, and as many updates on one batch."""
    train, _ = images.load(settings.data)
    num_full = len(train) // settings.batch_size * settings.batch_size
    full = train.take(np.arange(num_full))  # no smaller batch at the end
    trainer = alexnet_side.make_trainer(_config(settings), full, device=settings.device)
    update = functools.partial(alexnet_side.update, trainer, alexnet_side.one_batch(trainer))
    return {
        _OURS: functools.partial(alexnet_side.train_last_batches, trainer, count),
        _STEPS: times(count, update),
    }


def _peers(settings: Settings, manifest: Manifest, folder: Path, count: int) -> dict[str, Work]:
    device = settings.device
    crop_px, size = settings.crops_px[0], settings.batch_size
    loader = plain_loop.make_loader(
        folder, is_training=True, crop_px=crop_px, batch_size=size, num_images=count * size
    )
    plain = plain_loop.PlainLoop.create(manifest, device)
    works: dict[str, Work] = {_PLAIN: functools.partial(plain.train_one_epoch, loader)}
    if peers.timm_version() is not None:
        from benchmarks import timm_loop

        timm_loader = timm_loop.make_loader(
            folder, crop_px=crop_px, batch_size=size, num_images=count * size, device=device
        )
        loop = timm_loop.TimmLoop(manifest, device)
        works[_TIMM] = functools.partial(loop.train_one_epoch, timm_loader)
    return works
