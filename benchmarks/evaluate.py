"""Part `evaluate`: the evaluation of test images, by this project and by the plain loop."""

import functools

import numpy as np

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.evaluation.measure import predict_probabilities
from alexnet_cli.evaluation.metrics import summarise
from alexnet_cli.models.build import torch_logits
from benchmarks import alexnet_side, images, plain_loop
from benchmarks.isolated_process import isolated_process
from benchmarks.metrics import Comparison, Goal
from benchmarks.settings import Settings
from benchmarks.timing import Work, alternate

_OURS, _PLAIN = "ours", "plain loop"


def measure(settings: Settings) -> list[Comparison]:
    """Compare both on the centre crops of the same images, each with its own batch size."""
    train, test = images.load(settings.data)
    test = test.take(np.arange(min(settings.num_eval_images, len(test))))
    crop_px = settings.crops_px[0]
    manifest = alexnet_side.describe(_config(settings), train)
    with (
        images.plain_files(train, test) as folder,
        isolated_process(build_alexnet, settings, device=settings.device) as works,
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
        Comparison("evaluate", what, _PLAIN, "images/s", rates[_OURS], rates[_PLAIN],
               goal=Goal(">=", 8))
    ]  # fmt: skip


def _config(settings: Settings) -> TrainConfig:
    return TrainConfig(data=settings.data, crop_size=settings.crops_px[0])


def build_alexnet(settings: Settings) -> dict[str, Work]:
    """Return this project's evaluation, as it validates in training."""
    train, test = images.load(settings.data)
    test = test.take(np.arange(min(settings.num_eval_images, len(test))))
    trainer = alexnet_side.make_trainer(_config(settings), train, device=settings.device)
    run = trainer.run
    logits = torch_logits(trainer.eval_model, device=run.device, dtype=run.dtype)

    def evaluate() -> None:
        probabilities_NK = predict_probabilities(logits, test, run.manifest)
        summarise(probabilities_NK, test.labels_N, classes=run.manifest.classes)

    return {_OURS: evaluate}
