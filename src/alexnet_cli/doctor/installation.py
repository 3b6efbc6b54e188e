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
    Problem,
    clash_problem,
    cuda_problems,
    installed_versions,
    library_problems,
    old_driver_problem,
    onnxruntime_wheels,
    tensorrt_problems,
)

DISTRIBUTION = "alexnet-cli"
_SHOWN = ("torch", "torchvision", "triton", "onnx", "onnxscript", "safetensors", "numpy", "pillow")
_TORCH_FIX = "pip install --force-reinstall torch torchvision"  # as published: for CUDA
_CUDA_FIX = f"pip install --upgrade --force-reinstall torch torchvision {GPU_REQUIREMENT}"


def list_versions() -> dict[str, str | None]:
    """Return the versions that a bug report needs; None for a package that is not installed."""
    found = installed_versions()
    return {
        "alexnet": __version__,
        "python": platform.python_version(),
        **{name: found.get(name) for name in _SHOWN},
        **(onnxruntime_wheels() or {"onnxruntime": None}),
    }


def requirement_findings(
    requirements: Sequence[str] | None, versions: Mapping[str, str]
) -> list[Finding]:
    """Return a finding for each package that is missing or too old.

    Args:
        requirements: Of the wheel's metadata; None if this package runs from source.
        versions: The installed packages.
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
    """Import PyTorch, which takes over a second, and return why it fails, if it does."""
    try:
        importlib.import_module("torch")
    except (ImportError, OSError) as error:
        cause = f"PyTorch cannot be imported ({error})"
        return [Finding(Level.BROKEN, "PyTorch", cause, _TORCH_FIX)]
    return []


def own_requirements() -> list[str] | None:
    """Return the requirements of this package; None if it runs from source, uninstalled."""
    try:
        return importlib.metadata.requires(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return None


def gpu_findings(providers: Sequence[str], driver: Driver, *, has_hardware: bool) -> list[Finding]:
    """Return why ONNX Runtime cannot use the GPU; on a machine without a GPU that is a note.

    Args:
        providers: What ONNX Runtime lists as available.
        driver: The driver.
        has_hardware: Whether the machine has an NVIDIA GPU, with a driver or without.
    """
    clash = clash_problem()
    findings = [] if clash is None else [broken("ONNX Runtime", clash)]
    if not driver.gpus and driver.problem is None:
        if has_hardware:
            return [*findings, broken("GPU", next(cuda_problems(providers, driver)))]
        findings.append(
            Finding(Level.NOTE, "GPU", "no NVIDIA GPU here: everything runs on the CPU")
        )
        missing = library_problems() if CUDA in providers else ()
        return findings + [Finding(Level.NOTE, "CUDA libraries", p.cause, p.fix) for p in missing]
    problems = list(cuda_problems(providers, driver))
    # A clash that hides the GPU wheel is among the findings, with the same fix.
    known = {finding.fix for finding in findings}
    findings += [
        broken("ONNX Runtime", problem) for problem in problems if problem.fix not in known
    ]
    if not problems:
        lacking = tensorrt_problems(providers, driver)
        findings += [Finding(Level.NOTE, "TensorRT", p.cause, p.fix) for p in lacking]
    return findings


def torch_findings(
    torch_cuda: str | None, onnxruntime_cuda: str | None, driver: Driver, *, has_torch: bool = True
) -> list[Finding]:
    """Return why PyTorch cannot use the GPU, and conflicts with ONNX Runtime about CUDA.

    Args:
        torch_cuda: CUDA version of PyTorch, None for a CPU build.
        onnxruntime_cuda: CUDA version of ONNX Runtime, None for a CPU build.
        driver: The driver.
        has_torch: Whether PyTorch is installed; if not, it is among the missing packages.
    """
    if not has_torch:
        return []
    majors = [v.partition(".")[0] if v else None for v in (torch_cuda, onnxruntime_cuda)]
    level = Level.BROKEN if driver.gpus else Level.NOTE
    if torch_cuda is None:
        if not driver.gpus:
            return []
        return [broken("PyTorch", Problem("this PyTorch is a CPU build", _TORCH_FIX))]
    old_driver = old_driver_problem("PyTorch", torch_cuda, driver) if driver.gpus else None
    findings = [] if old_driver is None else [broken("PyTorch", old_driver)]
    if onnxruntime_cuda is not None and majors[0] != majors[1]:
        cause = (
            f"PyTorch is built with CUDA {torch_cuda}, ONNX Runtime with {onnxruntime_cuda}: "
            "their wheels of cuDNN write over each other"
        )
        findings.append(Finding(level, "CUDA versions", cause, _CUDA_FIX))
    return findings
