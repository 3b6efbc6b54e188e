"""What the benchmarks ran on: hardware, versions, commit, and the rates the machine reaches."""

import datetime
import os
import platform
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import torch

from alexnet_cli.models.lrn import kernel_name
from alexnet_cli.training.device import multiplies_bf16_fast
from alexnet_cli.training.run_files import library_versions
from benchmarks import peers
from benchmarks.figures import summarise
from benchmarks.timing import alternate

ROOT = Path(__file__).resolve().parents[1]
_TELLING_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")
_STATUS = (
    "status",
    "--porcelain",
    "--untracked-files=no",
    "--",
    ".",
    ":!benchmarks/results",
    ":!docs",
)
_COPY_BYTES = 1 << 28


def describe(device: torch.device) -> dict[str, object]:
    """Describe the machine, with how busy it was when the run began."""
    return {
        "cpu": _cpuinfo("model name") or platform.processor() or platform.machine(),
        "cpu_family_model": f"{_cpuinfo('cpu family')}/{_cpuinfo('model')}",
        "cpu_flags": [flag for flag in _TELLING_FLAGS if flag in _cpuinfo("flags").split()],
        "limited_to": os.environ.get("ONEDNN_MAX_CPU_ISA", ""),  # as benchmarks.avx2 sets it
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(_memory_bytes() / 2**30, 1),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "lrn": kernel_name(device),
        "platform": platform.platform(),
        "load_before": [round(load, 2) for load in os.getloadavg()],
    }


def versions() -> dict[str, str]:
    """Return the versions of everything that takes part; absent peers say so."""
    return {**library_versions(), "timm": peers.timm_version() or "not installed"}


def provenance() -> dict[str, str]:
    """Return commit and date; a commit with changes on top of it (results apart) is marked."""
    commit = _git("rev-parse", "HEAD") or "unknown"
    changed = "-changed" if _git(*_STATUS) else ""
    now = datetime.datetime.now(datetime.UTC)
    return {"commit": commit + changed, "date": now.isoformat(timespec="seconds")}


def slug(device: torch.device) -> str:
    """Name the hardware for a file: `amd-epyc-2threads`, `nvidia-h100-80gb-hbm3`."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        flags = _cpuinfo("flags").split()
        best = next((f for f in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if f in flags), "")
        cpu = _cpuinfo("model name") or platform.machine()
        limited = "limited" if "ONEDNN_MAX_CPU_ISA" in os.environ else ""
        name = f"{cpu} {best} {limited} {torch.get_num_threads()}threads"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def matmul(size: int, dtype: torch.dtype, device: torch.device) -> Callable[[], object]:
    """Return the product of two square matrices as work: 2·size³ operations."""
    left, right, result = (torch.randn(size, size, device=device).to(dtype) for _ in range(3))
    return lambda: torch.mm(left, right, out=result)


def rates(device: torch.device, *, size: int, repeats: int) -> dict[str, dict[str, float]]:
    """Measure the rate of matrix products, in TFLOP/s, and of copying memory, in GB/s.

    That of bfloat16 only where the hardware multiplies it faster than float32.
    """
    source = torch.ones(_COPY_BYTES // 4, device=device)
    target = torch.empty_like(source)
    works = {"float32": matmul(size, torch.float32, device), "copy": lambda: target.copy_(source)}
    if multiplies_bf16_fast(device):  # elsewhere it takes minutes, and nothing here uses it
        works["bfloat16"] = matmul(size, torch.bfloat16, device)
    seconds = alternate(works, repeats=repeats, device=device, warmups=2)
    copied = seconds.pop("copy")
    products = {
        f"matmul_{name}_tflops": summarise([2 * size**3 / s / 1e12 for s in samples])
        for name, samples in seconds.items()
    }
    return {**products, "copy_gb_per_s": summarise([2 * _COPY_BYTES / s / 1e9 for s in copied])}


def _cpuinfo(key: str) -> str:
    path = Path("/proc/cpuinfo")
    text = path.read_text() if path.exists() else ""
    found = re.search(rf"^{key}\s*:\s*(.*)$", text, re.MULTILINE)
    return found[1] if found else ""


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _git(*arguments: str) -> str:
    try:
        result = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return result.stdout.strip()
