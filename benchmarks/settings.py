"""What a run of the benchmarks measures, and how often."""

from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class Settings:
    """Sizes and counts; the defaults are the full form on a CPU.

    Attributes:
        device: Where everything runs.
        data: `cifar10`, or `shapes` where the archive was not downloaded.
        repeats: Rounds of the parts that take seconds (`lrn`, `train_step`).
        long_repeats: Rounds of the parts that take minutes (`epoch`, `evaluate`, `memory`).
        batch_size: Images per update.
        crops_px: Input sizes of `train_step`; the first is the default of `alexnet train`.
        lrn_shape: N, C, H, W of the activities in `lrn`.
        matmul_size: Side of the square matrices whose product gives the machine's rate.
        inner: Steps per sample in `lrn` and `train_step`.
        epoch_batches: Batches of an epoch that are run in `epoch`; 0 is all of them.
        num_eval_images: Images evaluated.
        memory_batches: Updates made in `memory`.
        save_updates: Updates among which one checkpoint is saved.
    """

    device: torch.device
    data: str
    repeats: int = 7
    long_repeats: int = 3
    batch_size: int = 128
    crops_px: tuple[int, ...] = (28, 32)
    lrn_shape: tuple[int, int, int, int] = (128, 96, 32, 32)
    matmul_size: int = 2048
    inner: int = 2
    epoch_batches: int = 40
    num_eval_images: int = 10_000
    memory_batches: int = 4
    save_updates: int = 15


def full_form(device: torch.device, data: str) -> Settings:
    """Return the settings of figures that may be published."""
    settings = Settings(device, data)
    if device.type == "cuda":  # its steps are short: one alone would time the launch
        return replace(settings, inner=30, epoch_batches=0, save_updates=500)
    return settings


def short_form(device: torch.device, data: str) -> Settings:
    """Return the settings of a look that takes a few minutes."""
    return replace(
        full_form(device, data),
        repeats=3,
        long_repeats=2,
        inner=10 if device.type == "cuda" else 1,
        epoch_batches=8,
        num_eval_images=1_000,
        memory_batches=2,
        save_updates=5,
    )
