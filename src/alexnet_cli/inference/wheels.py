"""Which of the wheels that this program runs on are installed, read without importing them.

Several wheels hold a package called `onnxruntime`. Installed together the last one's files lie over
the others', and uninstalling any of them tears holes into the rest.
"""

import ast
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

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
