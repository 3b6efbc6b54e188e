"""Which hardware ONNX Runtime uses. What was asked for is what runs, or an error says why not.

Being listed by ONNX Runtime proves nothing: it falls back to the CPU silently when a library is
missing, so the session itself is asked what it runs on.
"""

import contextlib
import ctypes
import sys
from dataclasses import dataclass
from typing import Any

import onnxruntime as ort

from alexnet_cli.devices import parse_device
from alexnet_cli.errors import DeviceError

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_REPAIR = "install the GPU runtime with: pip install 'onnxruntime-gpu[cuda,cudnn]'"


@dataclass(frozen=True)
class Providers:
    """What to ask of a session.

    Attributes:
        names: Provider names and options in order of preference.
        required: Whether another than the first would be an error.
        note: Why the GPU is not used, when nobody asked for the CPU.
    """

    names: list[Any]
    required: bool = False
    note: str | None = None


def choose_providers(device: str) -> Providers:
    """Turn `auto`, `cpu`, `cuda` or `cuda:N` into providers.

    Raises:
        UsageError: No such name.
        DeviceError: CUDA was asked for and cannot work here.
    """
    kind, index = parse_device(device)
    if kind == "cpu":
        return Providers([CPU])
    obstacle = _cuda_obstacle()
    if obstacle is None:
        with contextlib.redirect_stdout(sys.stderr):  # it prints what it cannot find
            ort.preload_dlls()
        options = {
            "device_id": str(index or 0),
            "cudnn_conv_algo_search": "HEURISTIC",  # the default tries every algorithm first
            "use_tf32": "0",  # float32 means float32: the answers are PyTorch's
        }
        return Providers([(CUDA, options), CPU], required=kind == "cuda")
    if kind == "cuda":
        raise DeviceError(
            f"--device {device} is not usable: {obstacle}", hint=f"use --device cpu, or {_REPAIR}"
        )
    return Providers([CPU], note=f"running on the CPU ({obstacle})")


def _cuda_obstacle() -> str | None:
    if CUDA not in ort.get_available_providers():
        return "this ONNX Runtime is a CPU build"
    driver = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(driver)
    except OSError:
        return f"no NVIDIA driver: {driver} was not found"
    return None


def check_provider(session: Any, providers: Providers) -> str | None:
    """Return a note when the session fell back to the CPU, None when it runs as asked.

    Raises:
        DeviceError: It fell back although CUDA was required.
    """
    wanted = providers.names[0][0] if isinstance(providers.names[0], tuple) else CPU
    if session.get_providers()[0] == wanted:
        return providers.note
    reason = "ONNX Runtime could not load its CUDA provider"
    if providers.required:
        raise DeviceError(f"--device cuda is not usable: {reason}", hint=_REPAIR)
    return f"running on the CPU ({reason})"
