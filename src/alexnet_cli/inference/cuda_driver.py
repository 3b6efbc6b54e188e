"""What NVIDIA's driver says of itself and of the GPUs, asked without PyTorch or nvidia-smi.

The driver's own library counts the devices that CUDA programs see: it heeds CUDA_VISIBLE_DEVICES,
which nvidia-smi does not, and needs no process.
"""

import ctypes
import sys
from ctypes import byref, c_char_p, c_int, c_size_t, create_string_buffer
from dataclasses import dataclass
from typing import Any

from alexnet_cli.inference.shared_libraries import Loader

_IS_WINDOWS = sys.platform == "win32"
DRIVER_LIBRARY = "nvcuda.dll" if _IS_WINDOWS else "libcuda.so.1"
_MANAGEMENT_LIBRARY = "nvml.dll" if _IS_WINDOWS else "libnvidia-ml.so.1"
_NO_DEVICE = 100
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # of CUdevice_attribute


@dataclass(frozen=True)
class Gpu:
    """A GPU as CUDA numbers it."""

    index: int
    name: str
    memory_bytes: int
    capability: tuple[int, int]


@dataclass(frozen=True)
class Driver:
    """The driver and its GPUs.

    Attributes:
        is_installed: Whether its library loads.
        problem: Why it cannot be used, None when it can; a machine without a GPU has no problem.
        version: As NVIDIA numbers it, such as 580.95.05, where the management library tells.
        cuda_version: The newest CUDA it can run, such as (13, 0).
        gpus: Those that are visible.
    """

    is_installed: bool
    problem: str | None = None
    version: str | None = None
    cuda_version: tuple[int, int] | None = None
    gpus: tuple[Gpu, ...] = ()


def read_driver(load: Loader = ctypes.CDLL) -> Driver:
    """Ask the driver.

    Args:
        load: Loads `libcuda.so.1` and `libnvidia-ml.so.1`, or raises OSError.
    """
    try:
        cuda = load(DRIVER_LIBRARY)
    except OSError:
        return Driver(is_installed=False)
    version, number = _driver_version(load), c_int()
    cuda_version = None
    if cuda.cuDriverGetVersion(byref(number)) == 0:
        cuda_version = (number.value // 1000, number.value % 1000 // 10)
    status = cuda.cuInit(0)
    if status not in (0, _NO_DEVICE):
        problem = f"the NVIDIA driver does not start: {_error_text(cuda, status)}"
        return Driver(True, problem, version, cuda_version)
    count = c_int()
    if status == 0:
        cuda.cuDeviceGetCount(byref(count))
    gpus = tuple(_read_gpu(cuda, index) for index in range(count.value))
    return Driver(True, None, version, cuda_version, gpus)


def _error_text(cuda: Any, status: int) -> str:
    text = c_char_p()
    cuda.cuGetErrorString(status, byref(text))
    return (
        f"{text.value.decode(errors='replace') if text.value else 'unknown'} (CUDA error {status})"
    )


def _read_gpu(cuda: Any, index: int) -> Gpu:
    device, name, memory = c_int(), create_string_buffer(256), c_size_t()
    cuda.cuDeviceGet(byref(device), index)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceTotalMem_v2(byref(memory), device)
    capability = []
    for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR):
        value = c_int()
        cuda.cuDeviceGetAttribute(byref(value), attribute, device)
        capability.append(value.value)
    return Gpu(
        index, name.value.decode(errors="replace"), memory.value, (capability[0], capability[1])
    )


def _driver_version(load: Loader) -> str | None:
    try:
        management = load(_MANAGEMENT_LIBRARY)
    except OSError:
        return None
    text = create_string_buffer(96)
    if management.nvmlInit_v2() != 0:
        return None
    status = management.nvmlSystemGetDriverVersion(text, len(text))
    management.nvmlShutdown()
    return text.value.decode(errors="replace") if status == 0 else None
