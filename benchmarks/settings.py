"""The sizes and repetitions of a run of the benchmarks."""

from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class Settings:
    """Sizes and counts; the defaults are the full form on a CPU."""

    device: torch.device
    data: str  # `cifar10`, or `shapes` if the archive is not downloaded
    repeats: int = 7  # rounds of parts that take seconds: `lrn`, `train_step`, `checkpoint`
    long_repeats: int = 3  # rounds of parts that take minutes: `epoch`, `evaluate`, `memory`
    batch_size: int = 128
    crops_px: tuple[int, ...] = (28, 32)  # of `train_step`; the others use the first, the default
    lrn_shape: tuple[int, int, int, int] = (128, 96, 32, 32)  # N, C, H, W
    matmul_size: int = 2048  # of the square matrices whose product gives the machine's rate
    inner: int = 2  # steps per sample in `lrn` and `train_step`
    epoch_batches: int = 40  # batches run of an epoch; 0: all
    num_eval_images: int = 10_000
    memory_batches: int = 4  # updates in `memory`
    save_updates: int = 15  # updates per save in `checkpoint`


def full_form(device: torch.device, data: str) -> Settings:
    """Return the settings of results to publish."""
    settings = Settings(device, data)
    if device.type == "cuda":  # its steps are short: a single one would time the launch
        return replace(settings, inner=30, epoch_batches=0, save_updates=500)
    return settings


def short_form(device: torch.device, data: str) -> Settings:
    """Return the settings of a run of a few minutes."""
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
