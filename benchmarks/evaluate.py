"""Part `evaluate`: test images through this project's evaluation and through the plain one."""

import functools

import numpy as np

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.evaluation.measure import evaluate
from alexnet_cli.models.layers import torch_logits
from benchmarks import images, ours, plain_loop
from benchmarks.apart import apart
from benchmarks.figures import Figure, Goal
from benchmarks.settings import Settings
from benchmarks.timing import Work, alternate

_OURS, _PLAIN = "ours", "plain loop"


def measure(settings: Settings) -> list[Figure]:
    """Compare both on the same images, one centre crop each; each with its own batch size."""
    train, test = images.load(settings.data)
    test = test.take(np.arange(min(settings.num_eval_images, len(test))))
    crop_px = settings.crops_px[0]
    manifest = ours.describe(_config(settings), train)
    with (
        images.plain_files(train, test) as folder,
        apart(build_ours, settings, device=settings.device) as works,
    ):
        loader = plain_loop.make_loader(
            folder, is_training=False, crop_px=crop_px, batch_size=settings.batch_size
        )
        plain = plain_loop.PlainLoop.create(manifest, settings.device)
        works |= {_PLAIN: functools.partial(plain.evaluate, loader)}
        seconds = alternate(works, repeats=settings.long_repeats, device=settings.device)
    rates = {name: [len(test) / s for s in samples] for name, samples in seconds.items()}
    what = f"{len(test):,} test images of {settings.data}, {crop_px} px"
    return [
        Figure("evaluate", what, _PLAIN, "images/s", rates[_OURS], rates[_PLAIN],
               goal=Goal(">=", 8))
    ]  # fmt: skip


def _config(settings: Settings) -> TrainConfig:
    return TrainConfig(data=settings.data, crop_size=settings.crops_px[0])


def build_ours(settings: Settings) -> dict[str, Work]:
    """Return this project's evaluation, as it validates in training."""
    train, test = images.load(settings.data)
    test = test.take(np.arange(min(settings.num_eval_images, len(test))))
    trainer = ours.make_trainer(_config(settings), train, device=settings.device)
    job = trainer.run
    logits = torch_logits(trainer.eval_model, device=job.device, dtype=job.dtype)
    spec, classes = job.manifest.input, job.manifest.classes
    return {_OURS: functools.partial(evaluate, logits, test, spec=spec, classes=classes)}
