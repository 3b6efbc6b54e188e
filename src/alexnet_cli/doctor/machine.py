"""The machine: processor, compiler, NVIDIA hardware and cache folder, with the findings on each."""

import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from alexnet_cli.console import counted
from alexnet_cli.devices import BF16_CAPABILITY, BF16_CPU_FLAGS, cpu_flags, num_cores, read_cpuinfo
from alexnet_cli.files import kept_libraries
from alexnet_cli.inference.gpu_check import Gpu, Problem


class Level(StrEnum):
    BROKEN = "broken"  # it should work and does not
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """A problem, or something to know."""

    level: Level
    subject: str  # the component
    cause: str
    fix: str | None = None  # a command, or else an action; None if nothing has to be done


def broken(subject: str, problem: Problem) -> Finding:
    return Finding(Level.BROKEN, subject, problem.cause, problem.fix)


REPORTED_CPU_FLAGS = (
    "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8",
    "asimd", "i8mm", "bf16", "sve",
)  # fmt: skip
_PCI_DEVICES = Path("/sys/bus/pci/devices")
_NVIDIA, _DISPLAY = "0x10de", "0x03"
_LITTLE_SPACE_BYTES = 1 << 30
_WITHOUT_KERNEL = 1.3
"""A bfloat16 training step of alexnet-cifar, batch 128, without the compiled LRN against with it:
1.45 and 1.22 times as long in two pairs of runs, one thread of an AMD EPYC."""
_BF16_SPEEDUP = 2.1
"""A training step of alexnet-cifar in bfloat16 against float32: 389 and 184 images/s, two threads
of an AMD EPYC Zen 4, as it is and limited to AVX2 (`benchmarks/results/train_step-…`)."""


@dataclass(frozen=True)
class Cpu:
    model: str
    num_processors: int  # logical processors this process may use
    num_threads: int | None  # OMP_NUM_THREADS, None if it is not set
    instructions: tuple[str, ...]  # of `REPORTED_CPU_FLAGS`


@dataclass(frozen=True)
class Default:
    name: str
    reason: str


@dataclass(frozen=True)
class Cache:
    folder: Path
    is_writable: bool
    free_bytes: int
    num_kernels: int  # compiled, and usable
    num_unused_kernels: int = 0  # damaged, or open to other users


def read_cpu(environment: Mapping[str, str]) -> Cpu:
    cpuinfo = read_cpuinfo()
    flags = cpu_flags(cpuinfo)
    threads = environment.get("OMP_NUM_THREADS", "").partition(",")[0]
    return Cpu(
        cpuinfo.get("model name") or platform.processor() or platform.machine(),
        num_cores(),
        int(threads) if threads.isdecimal() else None,
        tuple(flag for flag in REPORTED_CPU_FLAGS if flag in flags),
    )


def choose_precision(cpu: Cpu, gpu: Gpu | None) -> Default:
    """Return the precision of `--precision auto` in training, on a GPU if it uses one."""
    if gpu is not None:
        name = "{}, compute capability {}.{}".format(gpu.name, *gpu.capability)
        if gpu.capability >= BF16_CAPABILITY:
            return Default("bf16", f"{name}, multiplies it faster than float32")
        bound = "{}.{}".format(*BF16_CAPABILITY)
        return Default("fp32", f"{name}, is below {bound}, where fast bfloat16 begins")
    fast = [flag for flag in BF16_CPU_FLAGS if flag in cpu.instructions]
    if fast:
        return Default("bf16", f"{fast[-1]} multiplies it faster than float32")
    missing = " nor ".join(BF16_CPU_FLAGS)
    faster = f"one with either trains about {_BF16_SPEEDUP:g} times as fast"
    return Default("fp32", f"the processor has neither {missing}; {faster}")


def find_compiler() -> str | None:
    """Return the first line of the C compiler's version, None where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    try:
        answer = subprocess.run(  # noqa: S603 - the user's own compiler
            [compiler, "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    lines = answer.stdout.splitlines()
    return lines[0].strip() if lines else compiler


def compiler_findings(
    compiler: str | None, environment: Mapping[str, str], *, trains_on_gpu: bool
) -> list[Finding]:
    """Return what is slow on the CPU, or impossible on CUDA, without a C compiler."""
    fix = "xcode-select --install" if sys.platform == "darwin" else "sudo apt-get install gcc"
    if trains_on_gpu:
        # Triton takes these, and has no other way; the LRN does not fall back when it fails.
        if environment.get("CC") or shutil.which("gcc") or shutil.which("clang"):
            return []
        cause = "Triton, the LRN on CUDA, needs a C compiler: neither CC, gcc nor clang was found"
        return [Finding(Level.BROKEN, "compiler", cause, fix)]
    if compiler is not None:
        return []
    cause = (
        "no C compiler: cc was not found or does not run; the LRN is a convolution, and a training "
        f"step of alexnet-cifar takes about {_WITHOUT_KERNEL} times as long"
    )
    return [Finding(Level.NOTE, "compiler", cause, fix)]


def thread_findings(cpu: Cpu) -> list[Finding]:
    if cpu.num_threads is None or cpu.num_threads >= cpu.num_processors:
        return []
    cause = f"OMP_NUM_THREADS={cpu.num_threads} is fewer than the {cpu.num_processors} processors"
    return [Finding(Level.NOTE, "threads", cause, "unset OMP_NUM_THREADS")]


def has_nvidia_hardware(devices: Path = _PCI_DEVICES) -> bool:
    """Return True if Linux sees an NVIDIA GPU, with or without a driver for it."""
    for device in devices.glob("*"):
        try:
            vendor, kind = (
                (device / name).read_text(encoding="utf-8").strip() for name in ("vendor", "class")
            )
        except OSError:
            continue
        if vendor == _NVIDIA and kind.startswith(_DISPLAY):
            return True
    return False


def read_cache(folder: Path) -> Cache:
    """Read the state of the cache folder, or of the folder where it would be created."""
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    kernels = folder / "kernels"
    num_kernels = len(list(kept_libraries(kernels)))
    num_unused = len(list(kernels.glob("*.so"))) - num_kernels
    is_writable = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    free_bytes = shutil.disk_usage(existing).free
    return Cache(folder, is_writable, free_bytes, num_kernels, num_unused)


def cache_findings(cache: Cache) -> list[Finding]:
    if not cache.is_writable:
        cause = f"the cache folder {cache.folder} cannot be written to"
        return [Finding(Level.BROKEN, "cache", cause, "export ALEXNET_HOME=$HOME/alexnet-cache")]
    if cache.free_bytes < _LITTLE_SPACE_BYTES:
        cause = f"only {cache.free_bytes / 1e6:,.0f} MB are free at {cache.folder}"
        return [Finding(Level.NOTE, "cache", cause, "alexnet data  # lists what could be deleted")]
    if cache.num_unused_kernels:
        kernels = cache.folder / "kernels"
        cause = f"{counted(cache.num_unused_kernels, 'compiled kernel')} in {kernels} will not be "
        cause += "used: damaged, of an older version, or open to other users"
        return [Finding(Level.NOTE, "cache", cause, f"rm -r {shlex.quote(str(kernels))}")]
    return []
