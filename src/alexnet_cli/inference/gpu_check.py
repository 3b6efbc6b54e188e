"""Why ONNX Runtime cannot use a GPU here: each problem with the command that fixes it.

The driver is asked through its own library, which counts the devices that CUDA programs see: it
follows CUDA_VISIBLE_DEVICES, unlike nvidia-smi, and needs neither PyTorch nor a process. Packages
are read from `sys.path` without importing them, so that a broken one can be examined.
"""

import contextlib
import ctypes
import io
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from ctypes import byref, c_char_p, c_int, c_size_t, create_string_buffer
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_cli.devices import describe_gpu_count, gpu_flags

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
GPU_REQUIREMENT = "'onnxruntime-gpu[cuda,cudnn]'"
_WHEEL_NAMES = re.compile(
    r"onnxruntime(-(gpu|directml|openvino|training|rocm|migraphx|qnn|silicon))?|ort-nightly(-\w+)*"
)
_DRIVER_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_DRIVER_VERSION = Path("/proc/driver/nvidia/version")
_NO_DEVICE = 100  # of cuInit
_CAPABILITY = (75, 76)  # major and minor, of CUdevice_attribute
_OLDEST_DRIVERS = {12: "525", 13: "580"}  # for each major version of CUDA, by its release notes
# Loaded at the first convolution; ONNX Runtime does not report that it is missing.
_CUDNN = "libcudnn.so.9"
_TENSORRT_LIBRARIES = ("libnvinfer.so.10", "libnvinfer_plugin.so.10", "libnvonnxparser.so.10")


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
    """NVIDIA's driver and its GPUs."""

    is_installed: bool  # its library loads
    problem: str | None = None  # why it does not start; a machine without a GPU has no problem
    version: str | None = None  # such as 580.95.05, where Linux reports it
    cuda_version: tuple[int, int] | None = None  # the newest that it runs, such as (13, 0)
    gpus: tuple[Gpu, ...] = ()  # the visible ones


def cuda_problems(
    providers: Sequence[str], driver: Driver, *, index: int | None = None
) -> Iterator[Problem]:
    """Yield the problems of ONNX Runtime with CUDA, the most fundamental first.

    Each is looked for only when it is asked for, so that the first costs no more than itself.

    That ONNX Runtime lists a provider as available does not mean that it works.
    """
    yield from _driver_problems(driver, index)
    if CUDA in providers:
        yield from library_problems()
    else:
        yield _build_problem()


def tensorrt_problems(providers: Sequence[str], driver: Driver) -> Iterator[Problem]:
    """Yield the problems of ONNX Runtime with TensorRT, which needs all that CUDA needs."""
    yield from cuda_problems(providers, driver)
    if CUDA in providers and TENSORRT not in providers:
        wheels = onnxruntime_wheels()
        cause = f"this ONNX Runtime ({_join(wheels)}) was built without TensorRT"
        yield Problem(cause, reinstall_command(wheels))
    elif CUDA in providers:
        folders = (Path(root, "tensorrt_libs") for root in sys.path)
        folder = next(filter(Path.is_dir, folders), Path())  # of its wheel, where no loader looks
        libraries = [str(folder / name) for name in _TENSORRT_LIBRARIES]
        major = (onnxruntime_cuda_version() or "13").partition(".")[0]
        fix = f"pip install 'tensorrt-cu{major}==10.*'"
        yield from _loading_problem("TensorRT's libraries", libraries, fix)


def library_problems() -> Iterator[Problem]:
    """Yield one problem that names all CUDA libraries that do not load."""
    import onnxruntime

    printed = io.StringIO()
    if hasattr(onnxruntime, "preload_dlls"):  # from ONNX Runtime 1.21 on
        with contextlib.redirect_stdout(printed):
            onnxruntime.preload_dlls()  # from NVIDIA's wheels, where no loader looks
    names = re.findall(r"Failed to load (?:\S*/)?(\S+): ", printed.getvalue())
    names += [_CUDNN] if sys.platform == "linux" else []
    # A damaged copy in a wheel does not matter where another one loads.
    fix = f"pip install --force-reinstall {GPU_REQUIREMENT}"
    yield from _loading_problem("CUDA libraries", names, fix)


def _loading_problem(what: str, libraries: Sequence[str], fix: str) -> Iterator[Problem]:
    failed = {}
    for library in libraries:
        try:
            ctypes.CDLL(library)
        except OSError as error:
            failed[Path(library).name] = str(error)
    if failed:
        reason = next(iter(failed.values()))
        yield Problem(f"{what} do not load: {', '.join(failed)} ({reason})", fix)


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


def _driver_problems(driver: Driver, index: int | None) -> Iterator[Problem]:
    if not driver.is_installed:
        yield Problem(
            f"no NVIDIA driver: {_DRIVER_LIBRARY} was not found",
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
    if problem := old_driver_problem("ONNX Runtime", onnxruntime_cuda_version(), driver):
        yield problem


def old_driver_problem(library: str, cuda_version: str | None, driver: Driver) -> Problem | None:
    """Return the problem of a driver that is older than the CUDA of a library."""
    major = int((cuda_version or "0").partition(".")[0])
    if driver.cuda_version is None or major <= driver.cuda_version[0]:
        return None
    oldest = _OLDEST_DRIVERS.get(major)
    newest = "{}.{}".format(*driver.cuda_version)
    return Problem(
        f"{library} is built with CUDA {major}, and the NVIDIA driver "
        f"{driver.version or ''} runs CUDA up to {newest}".replace("  ", " "),
        f"update NVIDIA's driver{f' to {oldest} or later' if oldest else ''}; check: nvidia-smi",
    )


def _build_problem() -> Problem:
    """Return the problem of an ONNX Runtime without CUDA."""
    if not has_gpu_wheel():
        cause = (
            "this ONNX Runtime is a CPU build, and none with CUDA is published for "
            f"this machine ({sys.platform})"
        )
        return Problem(cause, "use --device cpu")
    wheels = onnxruntime_wheels()
    cause = f"this ONNX Runtime ({_join(wheels)}) is a CPU build"
    return clash_problem() or Problem(cause, reinstall_command(wheels))


def clash_problem() -> Problem | None:
    """Return the problem of several wheels that install the package `onnxruntime`.

    The files of the last one overwrite the others', and uninstalling one tears holes into the rest.
    """
    wheels = onnxruntime_wheels()
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


def has_gpu_wheel() -> bool:
    """Return True if onnxruntime-gpu is published for this platform."""
    import platform  # a few milliseconds that `predict` need not spend

    return sys.platform in ("linux", "win32") and platform.machine() in ("x86_64", "AMD64")


def installed_versions() -> dict[str, str]:
    """Return the versions of all installed distributions, by normalised name; the first counts."""
    import importlib.metadata  # the same

    versions: dict[str, str] = {}
    for found in importlib.metadata.distributions():
        name = found.metadata["Name"] if found.metadata else None
        if name:  # not what an interrupted pip left behind
            versions.setdefault(re.sub(r"[-_.]+", "-", name).lower(), found.version)
    return versions


def onnxruntime_wheels() -> dict[str, str]:
    """Return the installed wheels that install the package `onnxruntime`, with their versions."""
    versions = installed_versions()
    return {name: version for name, version in versions.items() if _WHEEL_NAMES.fullmatch(name)}


def torch_cuda_version() -> str | None:
    """Return the CUDA version PyTorch was built with; None for a CPU build or none at all."""
    return _constant("torch/version.py", "cuda")


def onnxruntime_cuda_version() -> str | None:
    """Return the CUDA version ONNX Runtime was built with; None for a CPU build or none at all."""
    return _constant("onnxruntime/capi/build_and_package_info.py", "cuda_version")


def _constant(file: str, name: str) -> str | None:
    """Return a string constant from a package's source, without importing it."""
    for path in (Path(root, file) for root in sys.path):
        if path.is_file():
            pattern = rf"""^{name}\b[^=\n]*=\s*['"]([^'"]+)['"]"""
            found = re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
            return found[1] if found else None
    return None


def read_driver() -> Driver:
    """Ask the driver for its version and its GPUs."""
    try:
        cuda = ctypes.CDLL(_DRIVER_LIBRARY)
    except OSError:
        return Driver(is_installed=False)
    version = None
    if _DRIVER_VERSION.is_file():
        found = re.search(
            r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s", _DRIVER_VERSION.read_text(encoding="utf-8")
        )
        version = found[1] if found else None
    number, count, text = c_int(), c_int(), c_char_p()
    cuda_version = None
    if cuda.cuDriverGetVersion(byref(number)) == 0:
        cuda_version = (number.value // 1000, number.value % 1000 // 10)
    status = cuda.cuInit(0)
    problem = None
    if status == 0:
        cuda.cuDeviceGetCount(byref(count))
    elif status != _NO_DEVICE:
        cuda.cuGetErrorString(status, byref(text))
        reason = (text.value or b"unknown").decode(errors="replace")
        problem = f"the NVIDIA driver does not start: {reason} (CUDA error {status})"
    gpus = tuple(_read_gpu(cuda, index) for index in range(count.value))
    return Driver(True, problem, version, cuda_version, gpus)


def _read_gpu(cuda: Any, index: int) -> Gpu:
    device, name, memory = c_int(), create_string_buffer(256), c_size_t()
    major, minor = c_int(), c_int()
    cuda.cuDeviceGet(byref(device), index)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceTotalMem_v2(byref(memory), device)
    for value, attribute in zip((major, minor), _CAPABILITY, strict=True):
        cuda.cuDeviceGetAttribute(byref(value), attribute, device)
    text = name.value.decode(errors="replace")
    return Gpu(index, text, memory.value, (major.value, minor.value))
