"""The machine of a benchmark: hardware, versions, commit and measured rates; result files."""

import datetime
import json
import os
import platform
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from alexnet_cli.devices import cpu_flags, read_cpuinfo
from alexnet_cli.files import atomic_write
from alexnet_cli.models.lrn import kernel_name
from alexnet_cli.training.device import multiplies_bf16_fast
from alexnet_cli.training.run_files import library_versions
from benchmarks import peers
from benchmarks.metrics import summarise
from benchmarks.timing import alternate

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
CPU = torch.device("cpu")
_REPORTED_CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")
_STATUS = (
    "status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results", ":!docs",
)  # fmt: skip
_COPY_BYTES = 1 << 28


def new_result(kind: str, device: torch.device = CPU, **versions: str) -> dict[str, Any]:
    """Return the start of a result: commit, versions and machine, with its load before the run."""
    return {
        "kind": kind,
        **provenance(),
        "versions": {
            **library_versions(),
            "timm": peers.timm_version() or "not installed",
            **versions,
        },
        "machine": describe(device),
    }


def write_result(result: dict[str, Any], path: Path | None) -> None:
    """Write a result, with the load after the run; without a path, print it."""
    content = json.dumps({**result, "load_after": load()}, indent=1, ensure_ascii=False) + "\n"
    if path is None:
        print(content, end="")
    else:
        atomic_write(path, content.encode())


def load() -> list[float]:
    """Return the load average of 1, 5 and 15 minutes."""
    return [round(each, 2) for each in os.getloadavg()]


def describe(device: torch.device) -> dict[str, object]:
    """Describe the machine."""
    cpuinfo = read_cpuinfo()
    flags = cpu_flags(cpuinfo)
    return {
        "cpu": cpuinfo.get("model name") or platform.processor() or platform.machine(),
        "cpu_family_model": f"{cpuinfo.get('cpu family', '')}/{cpuinfo.get('model', '')}",
        "cpu_flags": [flag for flag in _REPORTED_CPU_FLAGS if flag in flags],
        "limited_to": os.environ.get("ONEDNN_MAX_CPU_ISA", ""),  # as benchmarks.avx2 sets it
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(_memory_bytes() / 2**30, 1),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "lrn": kernel_name(device),
        "platform": platform.platform(),
        "load_before": load(),
    }


def provenance() -> dict[str, str]:
    """Return commit and date; changes other than of results and docs mark the commit."""
    commit = _git("rev-parse", "HEAD") or "unknown"
    changed = "-changed" if _git(*_STATUS) else ""
    now = datetime.datetime.now(datetime.UTC)
    return {"commit": commit + changed, "date": now.isoformat(timespec="seconds")}


def slug(device: torch.device = CPU) -> str:
    """Name the hardware for a file: `amd-epyc-2threads`, `nvidia-h100-80gb-hbm3`."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        cpuinfo = read_cpuinfo()
        names, flags = ("amx_bf16", "avx512_bf16", "avx512f", "avx2"), cpu_flags(cpuinfo)
        best = next((flag for flag in names if flag in flags), "")
        cpu = cpuinfo.get("model name") or platform.machine()
        limited = "limited" if "ONEDNN_MAX_CPU_ISA" in os.environ else ""
        name = f"{cpu} {best} {limited} {torch.get_num_threads()}threads"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def matmul(size: int, dtype: torch.dtype, device: torch.device) -> Callable[[], object]:
    """Return a function that multiplies two square matrices: 2·size³ operations."""
    left, right, result = (torch.randn(size, size, device=device).to(dtype) for _ in range(3))
    return lambda: torch.mm(left, right, out=result)


def rates(device: torch.device, *, size: int, repeats: int) -> dict[str, dict[str, float]]:
    """Measure the rate of matrix products, in TFLOP/s, and of copying memory, in GB/s.

    bfloat16 is measured only where the hardware multiplies it faster than float32.
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
