"""Part `train_step`: one update on a batch that is there already, and the rate it reaches."""

import functools

import torch

from alexnet_cli.config import TrainConfig
from alexnet_cli.models.build import outline_network
from alexnet_cli.training.loop import Trainer
from benchmarks import ours, peers
from benchmarks.figures import Figure, Goal
from benchmarks.machine import matmul
from benchmarks.operations import step_operations
from benchmarks.plain_loop import PlainLoop
from benchmarks.settings import Settings
from benchmarks.timing import Work, alternate, times

_OURS, _PLAIN, _TIMM, _MATMUL = "ours", "plain loop", "timm's loop", "matmul"
_SAME = "plain loop in the same number format"


def measure(settings: Settings) -> list[Figure]:
    """Compare the update at each input size."""
    return [figure for crop in settings.crops_px for figure in _measure_crop(settings, crop)]


def _measure_crop(settings: Settings, crop_px: int) -> list[Figure]:
    config = TrainConfig(crop_size=crop_px, batch_size=settings.batch_size)
    noise = ours.noise_images(settings.batch_size)
    trainer = ours.make_trainer(config, noise, device=settings.device)
    works = _works(settings, trainer)
    seconds = alternate(works, repeats=settings.repeats, device=settings.device)
    images = settings.batch_size * settings.inner
    rates = {name: [images / s for s in samples] for name, samples in seconds.items()}
    number_format = str(trainer.job.dtype).removeprefix("torch.")
    what = f"alexnet-cifar, {crop_px} px, batch {settings.batch_size}, {number_format}"
    figures = [
        Figure("train_step", what, _PLAIN, "images/s", rates[_OURS], rates[_PLAIN],
               goal=Goal(">=", 7)),
    ]  # fmt: skip
    figures += [
        Figure("train_step", what, peer, "images/s", rates[_OURS], rates[peer])
        for peer in (_SAME, _TIMM)
        if peer in rates
    ]
    operations = settings.inner * step_operations(
        outline_network(trainer.job.manifest.network), crop_px, settings.batch_size
    )
    products = 2 * settings.matmul_size**3 * settings.inner
    figures.append(
        Figure(
            "train_step",
            what,
            f"{number_format} matrix product of {settings.matmul_size}²",
            "TFLOP/s",
            [operations / s / 1e12 for s in seconds[_OURS]],
            [products / s / 1e12 for s in seconds[_MATMUL]],
            goal=Goal(">=", 0.35),
        )
    )
    return figures


def _works(settings: Settings, trainer: Trainer) -> dict[str, Work]:
    manifest, device = trainer.job.manifest, settings.device
    batch = ours.one_batch(trainer)
    float_batch = (batch[0].permute(0, 3, 1, 2).float().div(64).sub(2).contiguous(), batch[1])
    steps: dict[str, Work] = {
        _OURS: functools.partial(ours.update, trainer, batch),
        _PLAIN: functools.partial(PlainLoop.create(manifest, device).train_step, *float_batch),
        _MATMUL: matmul(settings.matmul_size, trainer.job.dtype, device),
    }
    if trainer.job.dtype != torch.float32:
        mixed = PlainLoop.create(manifest, device, trainer.job.dtype)
        steps[_SAME] = functools.partial(mixed.train_step, *float_batch)
    if peers.timm_version() is not None:
        from benchmarks.timm_loop import TimmLoop

        steps[_TIMM] = functools.partial(TimmLoop(manifest, device).train_step, *float_batch)
    torch.manual_seed(0)
    return {name: times(settings.inner, step) for name, step in steps.items()}
