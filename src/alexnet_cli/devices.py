"""Names of devices on the command line, and properties of the processor.

`training/device.py` checks that PyTorch can use one, `inference/providers.py` that exports can.
"""

import os
from pathlib import Path

from alexnet_cli.errors import UsageError

# Where bfloat16 is multiplied faster than float32: instructions as Linux names them, and the CUDA
# compute capability from which a GPU does it.
BF16_CPU_FLAGS = ("avx512_bf16", "amx_bf16")
BF16_CAPABILITY = (8, 0)

# Instructions that multiply 8-bit integers as Linux names them, the widest first.
_INTEGER_FLAGS = {
    "amx_int8": "AMX", "avx512_vnni": "AVX512-VNNI", "avx_vnni": "AVX-VNNI", "avx512bw": "AVX-512",
    "avx2": "AVX2",
}  # fmt: skip
_CPUINFO = Path("/proc/cpuinfo")
_CGROUP = Path("/sys/fs/cgroup")


def parse_device(name: str, *, has_tensorrt: bool = False) -> tuple[str, int | None]:
    """Split `auto`, `cpu`, `cuda`, `cuda:N` or (exported models) `tensorrt` into kind and number.

    Raises:
        UsageError: The name is unknown.
    """
    kind, colon, index = name.partition(":")
    if name == "tensorrt" and has_tensorrt:
        return name, None
    if name == "tensorrt":
        raise UsageError(
            "--device tensorrt runs exported models, not PyTorch's",
            hint="use --device cuda here; or: alexnet export, then alexnet predict "
            "--device tensorrt IMAGE",
        )
    is_numbered = kind == "cuda" and index.isascii() and index.isdecimal()
    if kind not in ("auto", "cpu", "cuda") or (colon and not is_numbered):
        others = "cuda, cuda:N or tensorrt" if has_tensorrt else "cuda or cuda:N"
        raise UsageError(f"unknown device {name!r}", hint=f"use --device auto, cpu, {others}")
    return kind, int(index) if colon else None


def describe_gpu_count(count: int) -> str:
    """Return `2 GPUs are visible`, with the variable that may hide others."""
    text = "1 GPU is visible" if count == 1 else f"{count} GPUs are visible"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    return text if hidden is None else f"{text} (CUDA_VISIBLE_DEVICES={hidden})"


def gpu_flags(count: int) -> str:
    """Return the flags that select one of `count` GPUs."""
    return "--device cuda:0" if count == 1 else f"--device cuda:0 to cuda:{count - 1}"


def num_cores() -> int:
    """Return the number of cores this process may use: its CPU affinity, or a container's quota."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        num_allowed = len(os.sched_getaffinity(0))
    else:
        num_allowed = os.cpu_count() or 1
    return min(num_allowed, cpu_quota() or num_allowed)


def cpu_quota(cgroup: Path = _CGROUP) -> int | None:
    """Return the cores' worth of time that Linux grants to a container; None without a limit.

    A container sees its own control group as the root of the tree, in version 2 of the interface
    (`cpu.max`) or in version 1 (`cpu.cfs_quota_us`, -1 without a limit).
    """
    try:
        if (cgroup / "cpu.max").exists():
            quota, period = (cgroup / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota, period = (
                (cgroup / "cpu" / name).read_text(encoding="utf-8").strip()
                for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            )
        return None if quota in ("max", "-1") else max(1, -(-int(quota) // int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        return None


def read_cpuinfo(path: Path = _CPUINFO) -> dict[str, str]:
    """Return Linux's description of the first processor, by name; empty on other systems."""
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def cpu_flags(cpuinfo: dict[str, str]) -> frozenset[str]:
    """Return the names of the instruction sets: `flags` on x86, `Features` on Arm."""
    return frozenset(cpuinfo.get("flags", cpuinfo.get("Features", "")).split())


def processor_kind(cpuinfo: dict[str, str] | None = None) -> str:
    """Return the architecture, and on x86 the widest integer instructions.

    Such as `x86_64 with AVX512-VNNI`, or `aarch64`; by default of this machine.
    """
    import platform  # a few milliseconds that `predict` need not spend

    flags = cpu_flags(read_cpuinfo() if cpuinfo is None else cpuinfo)
    widest = next((name for flag, name in _INTEGER_FLAGS.items() if flag in flags), None)
    return platform.machine() + (f" with {widest}" if widest else "")
