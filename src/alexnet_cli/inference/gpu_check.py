"""Which shared libraries a library needs, and which of them cannot be loaded.

Only the ELF format of Linux on 64-bit little-endian processors is read: there alone do NVIDIA's
libraries come as wheels that no loader finds by itself. Of another file nothing is said.

What NVIDIA's driver says of itself and of the GPUs, asked without PyTorch or nvidia-smi.

The driver's own library counts the devices that CUDA programs see: it heeds CUDA_VISIBLE_DEVICES,
which nvidia-smi does not, and needs no process.

Which of the wheels that this program runs on are installed, read without importing them.

Several wheels hold a package called `onnxruntime`. Installed together the last one's files lie over
the others', and uninstalling any of them tears holes into the rest.

Why ONNX Runtime cannot use a GPU here: each cause with the command that repairs it.

Nothing is looked up behind the caller's back: `Surroundings` holds what is looked at, so that any
situation can be laid out in a folder and diagnosed.
"""

import ast
import ctypes
import platform
import re
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ctypes import byref, c_char_p, c_int, c_size_t, create_string_buffer
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alexnet_cli.devices import describe_gpu_count, gpu_flags

Loader = Callable[[str], Any]
"""Loads a shared library by name or path, or raises OSError: `ctypes.CDLL`."""

_MAGIC = b"\x7fELF\x02\x01"  # 64-bit, little-endian
_HEADER = struct.Struct("<16xHHIQQQIHHHHHH")
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
_DYNAMIC_ENTRY = struct.Struct("<qQ")
_LOAD, _DYNAMIC = 1, 2
_NEEDED, _STRING_TABLE = 1, 5
_MAX_NAME_BYTES = 256
_MAX_TABLE_BYTES = 1 << 20
_SYSTEM_FAMILIES = ("libc.", "libm.", "libdl.", "librt.", "libpthread.", "ld-linux")


def needed_libraries(path: Path) -> tuple[str, ...]:
    """Return the names a library asks for (DT_NEEDED), in its order; none if it is no such file."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER.size)
            if len(head) < _HEADER.size or not head.startswith(_MAGIC):
                return ()
            fields = _HEADER.unpack(head)
            offset, size, count = fields[4], fields[8], fields[9]
            if size != _PROGRAM_HEADER.size:
                return ()
            file.seek(offset)
            segments = list(_PROGRAM_HEADER.iter_unpack(file.read(size * count)))
            return _read_needed(file, segments)
    except (OSError, struct.error, StopIteration, OverflowError, ValueError):
        return ()  # cut short or damaged: loading it will say so


def _read_needed(file: Any, segments: list[tuple[int, ...]]) -> tuple[str, ...]:
    dynamic = next(segment for segment in segments if segment[0] == _DYNAMIC)
    file.seek(dynamic[2])
    table = file.read(min(dynamic[5], _MAX_TABLE_BYTES))
    entries = list(_DYNAMIC_ENTRY.iter_unpack(table[: len(table) // 16 * 16]))
    address = next(value for tag, value in entries if tag == _STRING_TABLE)
    holder = next(s for s in segments if s[0] == _LOAD and s[3] <= address < s[3] + s[5])
    strings = holder[2] + address - holder[3]
    names = []
    for tag, value in entries:
        if tag == _NEEDED:
            file.seek(strings + value)
            names.append(file.read(_MAX_NAME_BYTES).partition(b"\0")[0].decode("ascii"))
    return tuple(names)


def wheel_folders(path: Iterable[str] | None = None) -> list[Path]:
    """Return the folders in which NVIDIA's wheels keep libraries, where no loader looks.

    Args:
        path: Where packages are installed; `sys.path` by default.
    """
    folders = []
    for root in map(Path, sys.path if path is None else path):
        folders += sorted(root.glob("nvidia/*/lib"))
        folders += [root / "tensorrt_libs"] if (root / "tensorrt_libs").is_dir() else []
    return folders


def load_libraries(
    names: Iterable[str], *, folders: Sequence[Path] = (), load: Loader = ctypes.CDLL
) -> dict[str, str]:
    """Load libraries, so that one that needs them finds them loaded.

    Args:
        names: In an order in which each comes after what it needs.
        folders: Where to look before the loader's own places, as ONNX Runtime does.
        load: The loader.

    Returns:
        Those that cannot be loaded, with the reason.
    """
    failed = {}
    for name in names:
        if name.startswith(_SYSTEM_FAMILIES):
            continue  # Python itself runs on them
        places = [str(folder / name) for folder in folders if (folder / name).is_file()]
        reason = _why_not_loaded([*places, name], load)
        if reason is not None:
            failed[name] = reason
    return failed


def _why_not_loaded(places: list[str], load: Loader) -> str | None:
    """Return the first place's reason: it says most of a file that is there but does not load."""
    first = None
    for place in places:
        try:
            load(place)
        except OSError as error:
            first = first or str(error)
        else:
            return None
    return first


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


_ONNXRUNTIME = re.compile(
    r"onnxruntime(-(gpu|directml|openvino|training|training-cpu|rocm|migraphx|qnn|cann|silicon))?"
    r"|ort-nightly(-\w+)*|onnxruntime-(gpu-)?nightly"
)
_DISTRIBUTION = re.compile(r"([A-Za-z0-9][\w.]*)-([^-]+)\.dist-info")
GPU_WHEEL = "onnxruntime-gpu"
GPU_REQUIREMENT = "'onnxruntime-gpu[cuda,cudnn]'"
_TENSORRT_MAJOR = "10"
_WHEEL_OF = {"cublaslt": "cublas", "cudart": "cuda-runtime", "nvrtc": "cuda-nvrtc"}


def onnxruntime_wheels(path: Iterable[str] | None = None) -> dict[str, str]:
    """Return the installed wheels that hold a package `onnxruntime`, with their versions.

    Args:
        path: Where packages are installed; `sys.path` by default.
    """
    return {name: v for name, v in installed_versions(path).items() if _ONNXRUNTIME.fullmatch(name)}


def installed_versions(path: Iterable[str] | None = None) -> dict[str, str]:
    """Return all installed distributions, their names in lower case with hyphens.

    The folders' names tell both; to open each METADATA would take twenty times as long.

    Args:
        path: Where packages are installed; `sys.path` by default. The first of a name counts.
    """
    versions: dict[str, str] = {}
    for root in map(Path, sys.path if path is None else path):
        for folder in sorted(root.glob("*.dist-info")):
            found = _DISTRIBUTION.fullmatch(folder.name)
            if found:  # not what an interrupted pip left behind
                versions.setdefault(re.sub(r"[-_.]+", "-", found[1]).lower(), found[2])
    return versions


def has_gpu_wheel(system: str = sys.platform, machine: str | None = None) -> bool:
    """Return whether onnxruntime-gpu is published for such a machine."""
    processor = platform.machine() if machine is None else machine
    return system in ("linux", "win32") and processor in ("x86_64", "AMD64")


def clash_repair(wheels: Mapping[str, str]) -> str:
    """Return the command that leaves one wheel of ONNX Runtime: the GPU's where it is published."""
    install = f"pip install {GPU_REQUIREMENT if has_gpu_wheel() else 'onnxruntime'}"
    return f"pip uninstall -y {' '.join(sorted(wheels))} && {install}" if wheels else install


def library_repair(names: Iterable[str], versions: Mapping[str, str]) -> str:
    """Return the command that brings back NVIDIA's libraries.

    Args:
        names: Library files, such as `libcurand.so.10`.
        versions: What is installed. A wheel that pip believes to be there must be forced.
    """
    forced, has_absent = set(), False
    for name in names:
        stem = name.partition(".")[0].removeprefix("lib").lower()
        wheel = _WHEEL_OF.get(stem, stem)
        owner = re.compile(rf"nvidia-{re.escape(wheel)}(-cu\d+)?")
        pins = {f"{found}=={v}" for found, v in versions.items() if owner.fullmatch(found)}
        forced |= pins
        has_absent |= not pins
    commands = []
    if forced:
        commands.append(f"pip install --force-reinstall --no-deps {' '.join(sorted(forced))}")
    if has_absent:
        commands.append(f"pip install {GPU_REQUIREMENT}")
    return " && ".join(commands)


def tensorrt_repair(names: Iterable[str], cuda_version: str) -> str:
    """Return the command that installs the TensorRT that ONNX Runtime was built against.

    Args:
        names: Library files, such as `libnvinfer.so.10`: the number is TensorRT's major version.
        cuda_version: ONNX Runtime's, such as 13.0.
    """
    majors = [name.rpartition(".")[2] for name in names if name.startswith("libnvinfer")]
    major = majors[0] if majors and majors[0].isdigit() else _TENSORRT_MAJOR
    return f"pip install 'tensorrt-cu{cuda_version.partition('.')[0]}=={major}.*'"


def torch_cuda_version(path: Iterable[str] | None = None) -> str | None:
    """Return the CUDA version PyTorch was built with; None for a CPU build or none at all."""
    return _constant("torch", "version.py", "cuda", path)


def onnxruntime_cuda_version(path: Iterable[str] | None = None) -> str | None:
    """Return the CUDA version ONNX Runtime was built with; None for a CPU build or none at all."""
    return _constant("onnxruntime", "capi/build_and_package_info.py", "cuda_version", path)


def package_folder(package: str, path: Iterable[str] | None = None) -> Path | None:
    """Return a package's folder, which is not imported for that."""
    roots = map(Path, sys.path if path is None else path)
    return next((root / package for root in roots if (root / package).is_dir()), None)


def _constant(package: str, file: str, name: str, path: Iterable[str] | None) -> str | None:
    """Read a constant from a package's source."""
    folder = package_folder(package, path)
    if folder is None or not (folder / file).is_file():
        return None
    for node in ast.parse((folder / file).read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        value = getattr(node, "value", None)
        if name in names and isinstance(value, ast.Constant) and isinstance(value.value, str):
            return value.value or None
    return None


CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
_LIBRARIES = {
    CUDA: "libonnxruntime_providers_cuda.so",
    TENSORRT: "libonnxruntime_providers_tensorrt.so",
}
_CUDNN = "libcudnn.so.9"
"""The CUDA provider loads it at its first convolution, and so does not name it among its needs."""

_MINIMUM_DRIVERS = {12: "525", 13: "580"}
"""NVIDIA's oldest driver for each major version of CUDA, from CUDA's release notes."""


@dataclass(frozen=True)
class Obstacle:
    """Why something cannot work, and the command, or else the deed, that repairs it."""

    cause: str
    repair: str


@dataclass(frozen=True)
class Surroundings:
    """What a diagnosis looks at.

    Attributes:
        providers: What ONNX Runtime lists as available, which proves nothing.
        path: Where packages are installed.
        load: Loads a shared library, or raises OSError.
    """

    providers: Sequence[str]
    path: Sequence[str] = field(default_factory=lambda: tuple(sys.path))
    load: Loader = ctypes.CDLL

    def driver(self) -> Driver:
        """Ask the driver."""
        return read_driver(self.load)


def cuda_obstacles(
    surroundings: Surroundings, *, index: int | None = None, driver: Driver | None = None
) -> Iterator[Obstacle]:
    """Yield what stands between ONNX Runtime and a GPU, the most fundamental first.

    Each is looked for only when it is asked for: who needs one reason pays for one.

    Args:
        surroundings: What to look at.
        index: The GPU's number, if one was named.
        driver: What the driver said, if it was asked already.
    """
    driver = driver or surroundings.driver()
    yield from _driver_obstacles(driver, index, surroundings.path)
    if CUDA not in surroundings.providers:
        yield _build_obstacle(surroundings.path)
    else:
        yield from library_obstacles(CUDA, surroundings)


def tensorrt_obstacles(
    surroundings: Surroundings, *, driver: Driver | None = None
) -> Iterator[Obstacle]:
    """Yield what stands between ONNX Runtime and TensorRT, which needs all that CUDA needs."""
    yield from cuda_obstacles(surroundings, driver=driver)
    if TENSORRT in surroundings.providers:
        yield from library_obstacles(TENSORRT, surroundings)
    elif CUDA in surroundings.providers:
        wheels = onnxruntime_wheels(surroundings.path)
        yield Obstacle(
            f"this ONNX Runtime ({_named(wheels)}) was built without TensorRT",
            clash_repair(wheels),
        )


def _driver_obstacles(driver: Driver, index: int | None, path: Sequence[str]) -> Iterator[Obstacle]:
    if not driver.is_installed:
        yield Obstacle(
            f"no NVIDIA driver: {DRIVER_LIBRARY} was not found",
            "install NVIDIA's driver (in a container: docker run --gpus all) and check: nvidia-smi",
        )
        return
    if driver.problem is not None:
        yield Obstacle(driver.problem, "check with: nvidia-smi; after a driver update: sudo reboot")
        return
    count = len(driver.gpus)
    if count == 0:
        yield Obstacle(
            f"no NVIDIA GPU: {describe_gpu_count(count)}",
            "check with: nvidia-smi --list-gpus; and: unset CUDA_VISIBLE_DEVICES",
        )
    elif index is not None and index >= count:
        yield Obstacle(
            f"there is no cuda:{index}: {describe_gpu_count(count)}", f"use {gpu_flags(count)}"
        )
    version = onnxruntime_cuda_version(path)
    if version is not None and driver.cuda_version is not None:
        major = int(version.partition(".")[0])
        if driver.cuda_version[0] < major:
            yield old_driver("ONNX Runtime", major, driver)


def old_driver(library: str, major: int, driver: Driver) -> Obstacle:
    """Return the obstacle of a driver that is older than the CUDA that a library is built with."""
    known = driver.cuda_version or (0, 0)
    oldest = _MINIMUM_DRIVERS.get(major)
    return Obstacle(
        f"{library} is built with CUDA {major}, and the NVIDIA driver "
        f"{driver.version or ''} runs CUDA up to {known[0]}.{known[1]}".replace("  ", " "),
        f"update NVIDIA's driver{f' to {oldest} or later' if oldest else ''}; check: nvidia-smi",
    )


def _build_obstacle(path: Sequence[str]) -> Obstacle:
    """Explain an ONNX Runtime without CUDA: often the CPU wheel's files hide the GPU wheel's."""
    wheels = onnxruntime_wheels(path)
    if GPU_WHEEL in wheels and len(wheels) > 1:
        others = [name for name in wheels if name != GPU_WHEEL]
        return Obstacle(
            f"the wheel {_named({n: wheels[n] for n in others})} hides "
            f"{_named({GPU_WHEEL: wheels[GPU_WHEEL]})}: both hold a package onnxruntime",
            clash_repair(wheels),
        )
    if not has_gpu_wheel():
        return Obstacle(
            "this ONNX Runtime is a CPU build, and none with CUDA is published for "
            f"this machine ({sys.platform})",
            "use --device cpu",
        )
    return Obstacle(
        f"this ONNX Runtime ({_named(wheels)}) is a CPU build",
        clash_repair(wheels),
    )


def clash(path: Sequence[str]) -> Obstacle | None:
    """Return the obstacle of several wheels that hold one package, whoever won."""
    wheels = onnxruntime_wheels(path)
    if len(wheels) < 2:
        return None
    return Obstacle(
        f"{_named(wheels)} all hold a package onnxruntime; the one installed last hides the others",
        clash_repair(wheels),
    )


def library_obstacles(provider: str, surroundings: Surroundings) -> Iterator[Obstacle]:
    """Yield the libraries that a provider needs and that do not load, named all at once.

    What does load stays loaded, which is what the provider needs: no loader looks into wheels.
    """
    capi = package_folder("onnxruntime", surroundings.path)
    if capi is None:
        return
    needed = needed_libraries(capi / "capi" / _LIBRARIES[provider])
    if not needed:
        return
    names = dict.fromkeys([*needed, *([_CUDNN] if provider == CUDA else [])])
    names.pop(DRIVER_LIBRARY, None)  # the driver is not to be repaired with pip
    failed = load_libraries(names, folders=wheel_folders(surroundings.path), load=surroundings.load)
    if not failed:
        return
    kind = "TensorRT" if provider == TENSORRT else "CUDA"
    first = next(iter(failed.values()))
    own = {name for name in failed if name.startswith("libnv") and provider == TENSORRT}
    repairs = []
    if failed.keys() - own:
        versions = installed_versions(surroundings.path)
        repairs.append(library_repair(failed.keys() - own, versions))
    if own:
        version = onnxruntime_cuda_version(surroundings.path) or ""
        repairs.append(tensorrt_repair(sorted(own), version))
    yield Obstacle(
        f"ONNX Runtime's {kind} provider lacks {', '.join(failed)} ({first})", " && ".join(repairs)
    )


def load_failure(provider: str, surroundings: Surroundings) -> str | None:
    """Return what the loader says of a provider's own library, None when it loads."""
    if sys.platform != "linux":
        return None  # its libraries have other names there
    capi = package_folder("onnxruntime", surroundings.path)
    if capi is None or not (capi / "capi" / _LIBRARIES[provider]).is_file():
        return f"it has no {_LIBRARIES[provider]}"
    try:
        # Its host has to be there for all to see, as ONNX Runtime itself loads it.
        ctypes.CDLL(str(capi / "capi" / "libonnxruntime_providers_shared.so"), ctypes.RTLD_GLOBAL)
        surroundings.load(str(capi / "capi" / _LIBRARIES[provider]))
    except OSError as error:
        return str(error).replace(f"{capi / 'capi'}/", "")
    return None


def _named(wheels: dict[str, str]) -> str:
    return (
        " and ".join(f"{name} {version}".strip() for name, version in wheels.items()) or "unknown"
    )
