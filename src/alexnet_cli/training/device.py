"""The device, number format and memory of a process that runs PyTorch."""

import ctypes
import os
import time

import torch
import torch.nn.functional as F
from torch import nn

from alexnet_cli.config.schema import Precision
from alexnet_cli.devices import (
    BF16_CAPABILITY,
    BF16_CPU_FLAGS,
    cpu_flags,
    cpu_quota,
    describe_gpu_count,
    gpu_flags,
    num_cores,
    parse_device,
    read_cpuinfo,
)
from alexnet_cli.errors import DeviceError

# From glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_NEVER = 2**31 - 1

_TIMED_IMAGES = {"cpu": 32, "cuda": 128}  # in a batch; more would take seconds on a CPU


def resolve_device(name: str) -> torch.device:
    """Return the device of `auto`, `cpu`, `cuda` or `cuda:N`.

    In a container with a CPU quota, PyTorch's threads are limited to it. On CUDA, float32 means
    float32: PyTorch's default for convolutions is TF32, with the 10 bits of float16.

    Raises:
        UsageError: Another name.
        DeviceError: CUDA was asked for and cannot be used.
    """
    if cpu_quota() and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(num_cores())  # by default one for each core of the host
    torch.backends.cudnn.allow_tf32 = False
    kind, index = parse_device(name)
    if kind == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if kind == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        reason = "this PyTorch is a CPU build"
        if torch.version.cuda:
            reason = "PyTorch found no usable NVIDIA GPU or driver"
        raise DeviceError(
            f"--device {name} is not usable: {reason}",
            hint="use --device cpu; to see the problem and its fix: alexnet doctor",
        )
    if index is not None and index >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise DeviceError(
            f"there is no {name}: {describe_gpu_count(count)}", hint=f"use {gpu_flags(count)}"
        )
    return torch.device(name)


def resolve_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the number format of the forward and backward pass.

    `auto` is bfloat16 where the hardware multiplies it faster than float32: CUDA from compute
    capability 8.0, x86 with AVX512-BF16 or AMX.

    Raises:
        DeviceError: bfloat16 was asked for on a GPU that lacks it.
    """
    is_fast = multiplies_bf16_fast(device)
    if precision is Precision.BF16 and device.type == "cuda" and not is_fast:
        raise DeviceError(f"{device} has no bfloat16", hint="use --precision fp32")
    uses_bf16 = is_fast if precision is Precision.AUTO else precision is Precision.BF16
    return torch.bfloat16 if uses_bf16 else torch.float32


def multiplies_bf16_fast(device: torch.device) -> bool:
    """Return whether a device multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= BF16_CAPABILITY
    # Linux lists the instructions; PyTorch's own functions for this are private.
    return not cpu_flags(read_cpuinfo()).isdisjoint(BF16_CPU_FLAGS)


def images_per_second(
    network: nn.Module, crop_size_px: int, *, device: torch.device, dtype: torch.dtype
) -> float:
    """Return how many images a network trains on in a second, by timing batches of noise.

    Loading the images and the update of the weights are not included. It takes a second or two on
    a CPU.
    """
    network = network.to(device).to(memory_format=torch.channels_last)
    num_images = _TIMED_IMAGES[device.type]
    images_BCSS = torch.randn(num_images, 3, crop_size_px, crop_size_px, device=device)
    labels_B = torch.zeros(num_images, dtype=torch.int64, device=device)
    seconds = []
    for _ in range(3):  # the first one also compiles kernels and allocates
        begin = time.perf_counter()
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            logits_BK = network(images_BCSS)
        F.cross_entropy(logits_BK.float(), labels_B).backward()  # type: ignore[no-untyped-call]
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - begin)
    return num_images / min(seconds)


def use_deterministic_kernels(device: torch.device) -> None:
    """Use kernels that give the same bytes each time on CUDA, though slower; the CPU has no others.

    Call this before the first matrix product on the GPU: cuBLAS reads its setting then.
    """
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(mode=True)
        # Nothing reads such memory; by default every allocation would be filled.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def seed_dropout(device: torch.device, seed: int) -> None:
    """Seed the random numbers that layers draw on a device, as `torch.manual_seed` does.

    That seeds all devices, which takes some tenths of a millisecond: as long as an update on a GPU.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def describe_device(device: torch.device) -> str:
    """Return the name of the hardware, for messages and `environment.json`."""
    if device.type == "cuda":
        exact = ", deterministic" if torch.are_deterministic_algorithms_enabled() else ""
        return f"{device} ({torch.cuda.get_device_name(device)}{exact})"
    return f"cpu ({torch.get_num_threads()} threads)"


def prepare_for_updates(device: torch.device) -> None:
    """Set this process up for many updates of the same shapes."""
    if device.type == "cuda":
        # The fastest kernel may differ from run to run, and with it the last bits.
        torch.backends.cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()
    else:
        keep_freed_memory()


def keep_freed_memory() -> bool:
    """Keep freed memory in the process; return whether the allocator accepts that (glibc's does).

    glibc returns freed blocks of more than 32 MiB to the kernel at once. An update frees and
    allocates the same activations again, and each time the kernel clears their pages. One arena,
    because the backward pass runs in a thread whose own arena could not hold such blocks.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER))
    return all(mallopt(parameter, value) for parameter, value in settings)
