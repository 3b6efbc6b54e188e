"""Why ONNX Runtime cannot use a GPU here: each cause with the command that repairs it.

Nothing is looked up behind the caller's back: `Surroundings` holds what is looked at, so that any
situation can be laid out in a folder and diagnosed.
"""

import ctypes
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from alexnet_cli.devices import count_gpus, name_gpus
from alexnet_cli.inference.cuda_driver import DRIVER_LIBRARY, Driver, read_driver
from alexnet_cli.inference.shared_libraries import (
    Loader,
    load_libraries,
    needed_libraries,
    wheel_folders,
)
from alexnet_cli.inference.wheels import (
    GPU_WHEEL,
    clash_repair,
    has_gpu_wheel,
    installed_versions,
    library_repair,
    onnxruntime_cuda_version,
    onnxruntime_wheels,
    package_folder,
    tensorrt_repair,
)

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
            f"no NVIDIA GPU: {count_gpus(count)}",
            "check with: nvidia-smi --list-gpus; and: unset CUDA_VISIBLE_DEVICES",
        )
    elif index is not None and index >= count:
        yield Obstacle(f"there is no cuda:{index}: {count_gpus(count)}", f"use {name_gpus(count)}")
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
