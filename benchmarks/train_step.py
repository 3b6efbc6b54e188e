"""Part `train_step`: one update on a batch in memory, and its floating-point rate."""

import functools

import torch

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.manifest import Manifest
from alexnet_cli.models.build import outline_network
from alexnet_cli.training.device import resolve_precision
from benchmarks import alexnet_side, peers
from benchmarks.isolated_process import isolated_process
from benchmarks.machine import matmul
from benchmarks.metrics import Comparison, Goal
from benchmarks.operations import step_operations
from benchmarks.plain_loop import PlainLoop
from benchmarks.settings import Settings
from benchmarks.timing import Work, alternate, times

_OURS, _PLAIN, _TIMM, _MATMUL = "ours", "plain loop", "timm's loop", "matmul"
_SAME = "plain loop in the same number format"


def measure(settings: Settings) -> list[Comparison]:
    """Compare the update at each input size."""
    return [each for crop in settings.crops_px for each in _measure_crop(settings, crop)]


def _measure_crop(settings: Settings, crop_px: int) -> list[Comparison]:
    config = TrainConfig(crop_size=crop_px, batch_size=settings.batch_size)
    dtype = resolve_precision(config.precision, settings.device)
    manifest = alexnet_side.describe(config, alexnet_side.noise_images(settings.batch_size))
    with isolated_process(build_alexnet, settings, config, device=settings.device) as works:
        peers_works = _peers(settings, manifest, dtype)
        seconds = alternate(works | peers_works, repeats=settings.repeats, device=settings.device)
    images = settings.batch_size * settings.inner
    rates = {name: [images / s for s in samples] for name, samples in seconds.items()}
    number_format = str(dtype).removeprefix("torch.")
    what = f"alexnet-cifar, {crop_px} px, batch {settings.batch_size}, {number_format}"
    comparisons = [
        Comparison("train_step", what, _PLAIN, "images/s", rates[_OURS], rates[_PLAIN],
               goal=Goal(">=", 7)),
    ]  # fmt: skip
    comparisons += [
        Comparison("train_step", what, peer, "images/s", rates[_OURS], rates[peer])
        for peer in (_SAME, _TIMM)
        if peer in rates
    ]
    operations = settings.inner * step_operations(
        outline_network(manifest.network), crop_px, settings.batch_size
    )
    products = 2 * settings.matmul_size**3 * settings.inner
    comparisons.append(
        Comparison(
            "train_step",
            what,
            f"{number_format} matrix product of {settings.matmul_size}²",
            "TFLOP/s",
            [operations / s / 1e12 for s in seconds[_OURS]],
            [products / s / 1e12 for s in seconds[_MATMUL]],
            goal=Goal(">=", 0.35),
        )
    )
    return comparisons


def build_alexnet(settings: Settings, config: TrainConfig) -> dict[str, Work]:
    """Return this project's update."""
    noise = alexnet_side.noise_images(settings.batch_size)
    trainer = alexnet_side.make_trainer(config, noise, device=settings.device)
    update = functools.partial(alexnet_side.update, trainer, alexnet_side.one_batch(trainer))
    return {_OURS: times(settings.inner, update)}


def _peers(settings: Settings, manifest: Manifest, dtype: torch.dtype) -> dict[str, Work]:
    device, side = settings.device, manifest.input.crop_size_px
    generator = torch.Generator().manual_seed(0)
    images_NCHW = torch.randn(settings.batch_size, 3, side, side, generator=generator)
    labels_N = torch.arange(settings.batch_size) % 10
    float_batch = (images_NCHW.to(device), labels_N.to(device))
    steps: dict[str, Work] = {
        _PLAIN: functools.partial(PlainLoop.create(manifest, device).train_step, *float_batch),
        _MATMUL: matmul(settings.matmul_size, dtype, device),
    }
    if dtype != torch.float32:
        mixed = PlainLoop.create(manifest, device, dtype)
        steps[_SAME] = functools.partial(mixed.train_step, *float_batch)
    if peers.timm_version() is not None:
        from benchmarks.timm_loop import TimmLoop

        steps[_TIMM] = functools.partial(TimmLoop(manifest, device).train_step, *float_batch)
    torch.manual_seed(0)
    return {name: times(settings.inner, step) for name, step in steps.items()}
