"""Why ONNX Runtime cannot use a GPU here: each problem with the command that fixes it.

The driver is asked through its own library, which counts the devices that CUDA programs see: it
follows CUDA_VISIBLE_DEVICES, unlike nvidia-smi, and needs neither PyTorch nor a process. Packages
are read without importing them. `Probe` holds everything that is examined, so that tests can lay
out any situation in a folder.
"""

import contextlib
import ctypes
import io
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from ctypes import byref, c_char_p, c_int, c_size_t, create_string_buffer
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alexnet_cli.devices import describe_gpu_count, gpu_flags

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
GPU_WHEEL = "onnxruntime-gpu"
GPU_REQUIREMENT = "'onnxruntime-gpu[cuda,cudnn]'"
_WHEEL_NAMES = re.compile(
    r"onnxruntime(-(gpu|directml|openvino|training|rocm|migraphx|qnn|silicon))?|ort-nightly(-\w+)*"
)
DRIVER_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_DRIVER_VERSION = Path("/proc/driver/nvidia/version")
_NO_DEVICE = 100  # of cuInit
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # of CUdevice_attribute
_MINIMUM_DRIVERS = {12: "525", 13: "580"}
"""NVIDIA's oldest driver for each major version of CUDA, from CUDA's release notes."""

_CUDNN = "libcudnn.so.9"
"""Loaded at the first convolution; ONNX Runtime does not report that it is missing."""

_TENSORRT_LIBRARIES = ("libnvinfer.so.10", "libnvinfer_plugin.so.10", "libnvonnxparser.so.10")

Loader = Callable[[str], Any]
"""Loads a shared library by name or path, or raises OSError, like `ctypes.CDLL`."""


@dataclass(frozen=True)
class Problem:
    """Why something cannot work, and the command, or else the action, that fixes it."""

    cause: str
    fix: str


@dataclass(frozen=True)
class Gpu:
    """A GPU as CUDA numbers it."""

    index: int
    name: str
    memory_bytes: int
    capability: tuple[int, int]


@dataclass(frozen=True)
class Driver:
    """NVIDIA's driver and its GPUs.

    Attributes:
        is_installed: Whether its library loads.
        problem: Why it cannot be used, or None; a machine without a GPU has no problem.
        version: NVIDIA's number, such as 580.95.05, where Linux reports it.
        cuda_version: The newest CUDA it can run, such as (13, 0).
        gpus: The visible GPUs.
    """

    is_installed: bool
    problem: str | None = None
    version: str | None = None
    cuda_version: tuple[int, int] | None = None
    gpus: tuple[Gpu, ...] = ()


def preload_libraries() -> str:
    """Load NVIDIA's libraries from their wheels, where no loader looks, and return the failures."""
    import onnxruntime

    printed = io.StringIO()
    if hasattr(onnxruntime, "preload_dlls"):  # from ONNX Runtime 1.21 on
        with contextlib.redirect_stdout(printed):
            onnxruntime.preload_dlls()
    return printed.getvalue()


@dataclass(frozen=True)
class Probe:
    """Everything that is examined; by default, this process.

    Attributes:
        providers: What ONNX Runtime lists as available, which does not mean that it works.
        path: Where packages are installed.
        load: Loads a shared library.
        preload: Loads the CUDA libraries and returns what ONNX Runtime prints of failures.
    """

    providers: Sequence[str]
    path: Sequence[str] = field(default_factory=lambda: tuple(sys.path))
    load: Loader = ctypes.CDLL
    preload: Callable[[], str] = preload_libraries

    def driver(self) -> Driver:
        """Ask the driver."""
        return read_driver(self.load)


def cuda_problems(
    probe: Probe, *, index: int | None = None, driver: Driver | None = None
) -> Iterator[Problem]:
    """Yield the problems of ONNX Runtime with CUDA, the most fundamental first.

    Each is examined only when it is asked for, so that the first costs no more than itself.

    Args:
        probe: What to examine.
        index: The GPU's number, if one was named.
        driver: The driver, if it was asked already.
    """
    driver = driver or probe.driver()
    yield from _driver_problems(driver, index, probe.path)
    if CUDA not in probe.providers:
        yield _build_problem(probe.path)
    else:
        yield from library_problems(probe)


def tensorrt_problems(probe: Probe, *, driver: Driver | None = None) -> Iterator[Problem]:
    """Yield the problems of ONNX Runtime with TensorRT, which needs all that CUDA needs."""
    yield from cuda_problems(probe, driver=driver)
    if CUDA not in probe.providers:
        return
    if TENSORRT not in probe.providers:
        wheels = onnxruntime_wheels(probe.path)
        cause = f"this ONNX Runtime ({_join(wheels)}) was built without TensorRT"
        yield Problem(cause, reinstall_command(wheels))
        return
    failed = {}
    for name in _TENSORRT_LIBRARIES:
        places = [Path(root, "tensorrt_libs", name) for root in probe.path]
        place = next((str(path) for path in places if path.is_file()), name)
        try:
            probe.load(place)
        except OSError as error:
            failed[name] = str(error)
    if failed:
        cause = f"TensorRT's libraries do not load: {', '.join(failed)}"
        major = (onnxruntime_cuda_version(probe.path) or "13").partition(".")[0]
        reason = next(iter(failed.values()))
        yield Problem(f"{cause} ({reason})", f"pip install 'tensorrt-cu{major}==10.*'")


def library_problems(probe: Probe) -> Iterator[Problem]:
    """Yield one problem that names all CUDA libraries that do not load."""
    names = re.findall(r"Failed to load (?:\S*/)?(\S+): ", probe.preload())
    names += [_CUDNN] if sys.platform == "linux" else []
    failed = {}
    for name in dict.fromkeys(names):
        try:
            probe.load(name)  # a damaged copy in a wheel does not matter where another one loads
        except OSError as error:
            failed[name] = str(error)
    if failed:
        yield Problem(
            f"CUDA libraries do not load: {', '.join(failed)} ({next(iter(failed.values()))})",
            f"pip install --force-reinstall {GPU_REQUIREMENT}",
        )


def provider_load_error(provider: str) -> str | None:
    """Return the loader's error for a provider's own library, or None if it loads."""
    import onnxruntime

    if sys.platform != "linux":
        return None  # its libraries have other names there
    name = f"libonnxruntime_providers_{'cuda' if provider == CUDA else 'tensorrt'}.so"
    folder = Path(onnxruntime.__file__).parent / "capi"
    if not (folder / name).is_file():
        return f"it has no {name}"
    try:
        # Its host has to be visible to all, as ONNX Runtime itself loads it.
        ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / name))
    except OSError as error:
        return str(error).replace(f"{folder}/", "")
    return None


def _driver_problems(driver: Driver, index: int | None, path: Sequence[str]) -> Iterator[Problem]:
    if not driver.is_installed:
        yield Problem(
            f"no NVIDIA driver: {DRIVER_LIBRARY} was not found",
            "install NVIDIA's driver (in a container: docker run --gpus all) and check: nvidia-smi",
        )
        return
    if driver.problem is not None:
        yield Problem(driver.problem, "check with: nvidia-smi; after a driver update: sudo reboot")
        return
    count = len(driver.gpus)
    if count == 0:
        yield Problem(
            f"no NVIDIA GPU: {describe_gpu_count(count)}",
            "check with: nvidia-smi --list-gpus; and: unset CUDA_VISIBLE_DEVICES",
        )
    elif index is not None and index >= count:
        yield Problem(
            f"there is no cuda:{index}: {describe_gpu_count(count)}", f"use {gpu_flags(count)}"
        )
    version = onnxruntime_cuda_version(path)
    if version is not None and driver.cuda_version is not None:
        major = int(version.partition(".")[0])
        if driver.cuda_version[0] < major:
            yield old_driver_problem("ONNX Runtime", major, driver)


def old_driver_problem(library: str, major: int, driver: Driver) -> Problem:
    """Return the problem of a driver that is older than the CUDA of a library."""
    known = driver.cuda_version or (0, 0)
    oldest = _MINIMUM_DRIVERS.get(major)
    return Problem(
        f"{library} is built with CUDA {major}, and the NVIDIA driver "
        f"{driver.version or ''} runs CUDA up to {known[0]}.{known[1]}".replace("  ", " "),
        f"update NVIDIA's driver{f' to {oldest} or later' if oldest else ''}; check: nvidia-smi",
    )


def _build_problem(path: Sequence[str]) -> Problem:
    """Return the problem of an ONNX Runtime without CUDA."""
    wheels = onnxruntime_wheels(path)
    if not has_gpu_wheel():
        cause = (
            "this ONNX Runtime is a CPU build, and none with CUDA is published for "
            f"this machine ({sys.platform})"
        )
        return Problem(cause, "use --device cpu")
    if GPU_WHEEL in wheels and len(wheels) > 1:
        others = {name: version for name, version in wheels.items() if name != GPU_WHEEL}
        gpu_wheel = f"{GPU_WHEEL} {wheels[GPU_WHEEL]}"
        cause = f"{_join(others)} hides {gpu_wheel}: both install the package onnxruntime"
        return Problem(cause, reinstall_command(wheels))
    return Problem(f"this ONNX Runtime ({_join(wheels)}) is a CPU build", reinstall_command(wheels))


def clash_problem(path: Sequence[str]) -> Problem | None:
    """Return the problem of several wheels that install the package `onnxruntime`.

    The files of the last one overwrite the others', and uninstalling one tears holes into the rest.
    """
    wheels = onnxruntime_wheels(path)
    if len(wheels) < 2:
        return None
    cause = f"{_join(wheels)} install the same package onnxruntime; the last one hides the others"
    return Problem(cause, reinstall_command(wheels))


def reinstall_command(wheels: Mapping[str, str]) -> str:
    """Return the command that leaves one wheel of ONNX Runtime: the GPU's where it is published."""
    install = f"pip install {GPU_REQUIREMENT if has_gpu_wheel() else 'onnxruntime'}"
    return f"pip uninstall -y {' '.join(sorted(wheels))} && {install}" if wheels else install


def _join(wheels: Mapping[str, str]) -> str:
    return " and ".join(f"{name} {version}" for name, version in wheels.items()) or "unknown"


def has_gpu_wheel(system: str = sys.platform, machine: str | None = None) -> bool:
    """Return whether onnxruntime-gpu is published for a platform, by default this one."""
    import platform  # a few milliseconds that `predict` need not spend

    processor = platform.machine() if machine is None else machine
    return system in ("linux", "win32") and processor in ("x86_64", "AMD64")


def installed_versions(path: Sequence[str] | None = None) -> dict[str, str]:
    """Return the versions of all installed distributions, by normalised name; the first counts."""
    import importlib.metadata  # the same

    versions: dict[str, str] = {}
    for found in importlib.metadata.distributions(path=list(sys.path if path is None else path)):
        name = found.metadata["Name"] if found.metadata else None
        if name:  # not what an interrupted pip left behind
            versions.setdefault(re.sub(r"[-_.]+", "-", name).lower(), found.version)
    return versions


def onnxruntime_wheels(path: Sequence[str] | None = None) -> dict[str, str]:
    """Return the installed wheels that install the package `onnxruntime`, with their versions."""
    versions = installed_versions(path)
    return {name: version for name, version in versions.items() if _WHEEL_NAMES.fullmatch(name)}


def torch_cuda_version(path: Sequence[str] | None = None) -> str | None:
    """Return the CUDA version PyTorch was built with; None for a CPU build or none at all."""
    return _constant("torch/version.py", "cuda", path)


def onnxruntime_cuda_version(path: Sequence[str] | None = None) -> str | None:
    """Return the CUDA version ONNX Runtime was built with; None for a CPU build or none at all."""
    return _constant("onnxruntime/capi/build_and_package_info.py", "cuda_version", path)


def _constant(file: str, name: str, path: Sequence[str] | None) -> str | None:
    """Return the text that a package's source assigns to a name."""
    for root in sys.path if path is None else path:
        if Path(root, file).is_file():
            source = Path(root, file).read_text(encoding="utf-8")
            found = re.search(rf"""^{name}\b[^=\n]*=\s*['"]([^'"]+)['"]""", source, re.MULTILINE)
            return found[1] if found else None
    return None


def read_driver(load: Loader = ctypes.CDLL) -> Driver:
    """Ask the driver for its version and its GPUs."""
    try:
        cuda = load(DRIVER_LIBRARY)
    except OSError:
        return Driver(is_installed=False)
    version, number = _driver_version(), c_int()
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


def _driver_version() -> str | None:
    if not _DRIVER_VERSION.is_file():
        return None
    found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s", _DRIVER_VERSION.read_text())
    return found[1] if found else None


def _error_text(cuda: Any, status: int) -> str:
    text = c_char_p()
    cuda.cuGetErrorString(status, byref(text))
    description = text.value.decode(errors="replace") if text.value else "unknown"
    return f"{description} (CUDA error {status})"


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
    text = name.value.decode(errors="replace")
    return Gpu(index, text, memory.value, (capability[0], capability[1]))
