"""The installed packages: versions, clashes, CUDA majors, read without importing PyTorch."""

import importlib
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence

from packaging.requirements import InvalidRequirement, Requirement

from alexnet_cli import __version__
from alexnet_cli.doctor.machine import Finding, Level, broken
from alexnet_cli.inference.gpu_check import (
    CUDA,
    GPU_REQUIREMENT,
    Driver,
    Obstacle,
    Surroundings,
    clash,
    cuda_obstacles,
    installed_versions,
    library_obstacles,
    old_driver,
    onnxruntime_wheels,
    tensorrt_obstacles,
)

DISTRIBUTION = "alexnet-cli"
_SHOWN = ("torch", "torchvision", "triton", "onnx", "onnxscript", "safetensors", "numpy", "pillow")
_TORCH_REPAIR = "pip install --force-reinstall torch torchvision"  # as published: for CUDA
_CUDA_REPAIR = f"pip install --upgrade --force-reinstall torch torchvision {GPU_REQUIREMENT}"


def list_versions(path: Sequence[str]) -> dict[str, str | None]:
    """Return the versions worth telling in a report of a bug; None where one is not installed."""
    found = installed_versions(path)
    return {
        "alexnet": __version__,
        "python": platform.python_version(),
        **{name: found.get(name) for name in _SHOWN},
        **(onnxruntime_wheels(path) or {"onnxruntime": None}),
    }


def requirement_findings(
    requirements: Sequence[str] | None, versions: Mapping[str, str]
) -> list[Finding]:
    """Say what is missing or too old.

    Args:
        requirements: As a wheel's metadata writes them; None where this package runs from source.
        versions: What is installed.
    """
    findings = []
    for text in requirements or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = versions.get(requirement.name.lower().replace("_", "-"))
        if version is not None and requirement.specifier.contains(version, prereleases=True):
            continue
        requirement.marker = None
        state = "is not installed" if version is None else f"{version} is not what is needed"
        cause = f"{requirement.name} {state} ({requirement.specifier})"
        findings.append(Finding(Level.BROKEN, "packages", cause, f"pip install '{requirement}'"))
    return findings


def torch_import_findings() -> list[Finding]:
    """Import PyTorch, which takes over a second, and say why where that fails."""
    try:
        importlib.import_module("torch")
    except (ImportError, OSError) as error:
        cause = f"PyTorch cannot be imported ({error})"
        return [Finding(Level.BROKEN, "PyTorch", cause, _TORCH_REPAIR)]
    return []


def own_requirements() -> list[str] | None:
    """Return what this package asks pip for; None where it runs from source, uninstalled."""
    try:
        return importlib.metadata.requires(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return None


def gpu_findings(around: Surroundings, driver: Driver, *, has_hardware: bool) -> list[Finding]:
    """Say why ONNX Runtime cannot use the GPU; without a GPU that is no more than a note.

    Args:
        around: What to look at.
        driver: What the driver says.
        has_hardware: Whether the machine has an NVIDIA GPU, driver or not.
    """
    found = clash(around.path)
    findings = [] if found is None else [broken("ONNX Runtime", found)]
    if not driver.gpus and driver.problem is None:
        if has_hardware:
            obstacle = next(cuda_obstacles(around, driver=driver))
            return [*findings, broken("GPU", obstacle)]
        missing = list(library_obstacles(CUDA, around))
        notes = [Finding(Level.NOTE, "CUDA libraries", o.cause, o.repair) for o in missing]
        note = Finding(Level.NOTE, "GPU", "no NVIDIA GPU here: everything runs on the CPU")
        return [*findings, note, *notes]
    obstacles = list(cuda_obstacles(around, driver=driver))
    # A clash that hides the GPU wheel has been told, with the same repair.
    told = {finding.repair for finding in findings}
    findings += [broken("ONNX Runtime", o) for o in obstacles if o.repair not in told]
    if not obstacles:
        lacks = tensorrt_obstacles(around, driver=driver)
        findings += [Finding(Level.NOTE, "TensorRT", o.cause, o.repair) for o in lacks]
    return findings


def torch_findings(
    torch_cuda: str | None, onnxruntime_cuda: str | None, driver: Driver, *, has_torch: bool = True
) -> list[Finding]:
    """Say whether PyTorch can use the GPU, and whether it agrees with ONNX Runtime on CUDA.

    Args:
        torch_cuda: CUDA version of PyTorch, None for a CPU build.
        onnxruntime_cuda: CUDA version of ONNX Runtime, None for a CPU build.
        driver: What the driver says.
        has_torch: Whether PyTorch is installed; if not, that is told as a missing package.
    """
    if not has_torch:
        return []
    majors = [v.partition(".")[0] if v else None for v in (torch_cuda, onnxruntime_cuda)]
    level = Level.BROKEN if driver.gpus else Level.NOTE
    if torch_cuda is None:
        if not driver.gpus:
            return []
        obstacle = Obstacle("this PyTorch is a CPU build", _TORCH_REPAIR)
        return [broken("PyTorch", obstacle)]
    findings = []
    if driver.gpus and driver.cuda_version and driver.cuda_version[0] < int(majors[0] or 0):
        findings.append(broken("PyTorch", old_driver("PyTorch", int(majors[0] or 0), driver)))
    if onnxruntime_cuda is not None and majors[0] != majors[1]:
        cause = (
            f"PyTorch is built with CUDA {torch_cuda}, ONNX Runtime with {onnxruntime_cuda}: "
            "their wheels of cuDNN write over each other"
        )
        findings.append(Finding(level, "CUDA versions", cause, _CUDA_REPAIR))
    return findings
