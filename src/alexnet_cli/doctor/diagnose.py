"""The diagnosis of `alexnet doctor`: everything that can be examined without running a network.

Packages are examined without importing PyTorch, which takes over a second.
"""

import importlib
import importlib.metadata
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement

from alexnet_cli import __version__
from alexnet_cli.config.sources import Variable, known_variables, list_variables, unread_message
from alexnet_cli.doctor.machine import (
    Cache,
    Cpu,
    Default,
    Finding,
    Level,
    broken,
    cache_findings,
    choose_precision,
    compiler_findings,
    find_compiler,
    has_nvidia_hardware,
    read_cache,
    read_cpu,
    thread_findings,
)
from alexnet_cli.errors import UsageError
from alexnet_cli.files import cache_folder
from alexnet_cli.inference.gpu_check import (
    CPU,
    CUDA,
    GPU_REQUIREMENT,
    Driver,
    Problem,
    clash_problem,
    cuda_problems,
    installed_versions,
    library_problems,
    old_driver_problem,
    onnxruntime_cuda_version,
    onnxruntime_wheels,
    read_driver,
    reinstall_command,
    tensorrt_problems,
    torch_cuda_version,
)

_DISTRIBUTION = "alexnet-cli"
_SHOWN = ("torch", "torchvision", "triton", "onnx", "onnxscript", "safetensors", "numpy", "pillow")
_TORCH_FIX = "pip install --force-reinstall torch torchvision"  # as published: for CUDA
_CUDA_FIX = f"pip install --upgrade --force-reinstall torch torchvision {GPU_REQUIREMENT}"


@dataclass(frozen=True)
class Diagnosis:
    versions: dict[str, str | None]  # by package; None where one is not installed
    torch_cuda: str | None  # CUDA version of PyTorch, None for a CPU build
    onnxruntime_cuda: str | None  # CUDA version of ONNX Runtime, None for a CPU build
    cpu: Cpu
    driver: Driver
    training: str  # device of `train --device auto`
    precision: Default  # number format of `train --precision auto`
    prediction: str  # provider of `predict --device auto`
    compiler: str | None  # the C compiler, if there is one
    cache: Cache | None  # None if ALEXNET_HOME is unusable
    variables: list[Variable]  # the `ALEXNET_*` variables that are set
    findings: list[Finding]  # the problems first

    @property
    def num_broken(self) -> int:
        return sum(finding.level is Level.BROKEN for finding in self.findings)


def examine() -> Diagnosis:
    cpu, compiler = read_cpu(os.environ), find_compiler()
    variables = list_variables(os.environ, known_variables())
    providers, findings = _providers()
    driver, versions = read_driver(), installed_versions()
    torch_cuda, onnxruntime_cuda = torch_cuda_version(), onnxruntime_cuda_version()
    gpu = gpu_findings(providers, driver, has_hardware=has_nvidia_hardware())
    # Without PyTorch, the findings on requirements suffice.
    torch = torch_findings(torch_cuda, onnxruntime_cuda, driver) if "torch" in versions else []
    cache, of_cache = _cache()
    trains_on_gpu = (
        bool(driver.gpus) and torch_cuda is not None and not _is_broken(torch, "PyTorch")
    )
    findings += [
        *requirement_findings(_own_requirements(), versions), *gpu, *torch, *of_cache,
        *variable_findings(variables), *thread_findings(cpu),
        *compiler_findings(compiler, os.environ, trains_on_gpu=trains_on_gpu),
    ]  # fmt: skip
    findings.sort(key=lambda finding: finding.level)  # broken, then note
    runs_on_gpu = bool(driver.gpus) and CUDA in providers and not _is_broken(gpu, "ONNX Runtime")
    return Diagnosis(
        list_versions(), torch_cuda, onnxruntime_cuda, cpu, driver,
        "cuda" if trains_on_gpu else "cpu",
        choose_precision(cpu, driver.gpus[0] if trains_on_gpu else None),
        CUDA if runs_on_gpu else CPU,
        compiler, cache, variables, findings,
    )  # fmt: skip


def _is_broken(findings: Iterable[Finding], subject: str) -> bool:
    return any(f.subject == subject and f.level is Level.BROKEN for f in findings)


def _providers() -> tuple[list[str], list[Finding]]:
    """Import ONNX Runtime, which clashing wheels or another processor can break."""
    try:
        import onnxruntime

        return list(onnxruntime.get_available_providers()), []
    except (ImportError, AttributeError, OSError) as error:
        cause = f"ONNX Runtime cannot be imported ({error})"
        fix = reinstall_command(onnxruntime_wheels())
        return [], [Finding(Level.BROKEN, "ONNX Runtime", cause, fix)]


def _cache() -> tuple[Cache | None, list[Finding]]:
    try:
        cache = read_cache(cache_folder())
    except UsageError as error:
        return None, [Finding(Level.BROKEN, "cache", error.message, "unset ALEXNET_HOME")]
    return cache, cache_findings(cache)


def _own_requirements() -> list[str]:
    """Return the requirements of this package; none if it runs from source, uninstalled."""
    try:
        return importlib.metadata.requires(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return []


def list_versions() -> dict[str, str | None]:
    """Return the versions that a bug report needs; None for a package that is not installed."""
    found = installed_versions()
    return {
        "alexnet": __version__,
        "python": platform.python_version(),
        **{name: found.get(name) for name in _SHOWN},
        **(onnxruntime_wheels() or {"onnxruntime": None}),
    }


def variable_findings(variables: Iterable[Variable]) -> list[Finding]:
    """Return a finding for each variable that no command reads."""
    known = known_variables()
    return [
        Finding(Level.BROKEN, "environment", unread_message(each.name, known), f"unset {each.name}")
        for each in variables
        if not each.is_known
    ]


def requirement_findings(requirements: Iterable[str], versions: Mapping[str, str]) -> list[Finding]:
    """Return a finding for each package that is missing or too old."""
    findings = []
    for text in requirements:
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
    """Import PyTorch, and return why it fails, if it does."""
    try:
        importlib.import_module("torch")
    except (ImportError, OSError) as error:
        return [broken("PyTorch", Problem(f"PyTorch cannot be imported ({error})", _TORCH_FIX))]
    return []


def gpu_findings(providers: Sequence[str], driver: Driver, *, has_hardware: bool) -> list[Finding]:
    """Return why ONNX Runtime cannot use the GPU; on a machine without a GPU that is a note."""
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
    findings += [broken("ONNX Runtime", each) for each in problems if each.fix not in known]
    if not problems:
        lacking = tensorrt_problems(providers, driver)
        findings += [Finding(Level.NOTE, "TensorRT", p.cause, p.fix) for p in lacking]
    return findings


def torch_findings(
    torch_cuda: str | None, onnxruntime_cuda: str | None, driver: Driver
) -> list[Finding]:
    """Return why PyTorch cannot use the GPU, and conflicts with ONNX Runtime about CUDA.

    The CUDA version of a CPU build is None.
    """
    if torch_cuda is None:
        problem = Problem("this PyTorch is a CPU build", _TORCH_FIX)
        return [broken("PyTorch", problem)] if driver.gpus else []
    old_driver = old_driver_problem("PyTorch", torch_cuda, driver) if driver.gpus else None
    findings = [] if old_driver is None else [broken("PyTorch", old_driver)]
    if onnxruntime_cuda is not None and _major(onnxruntime_cuda) != _major(torch_cuda):
        cause = (
            f"PyTorch is built with CUDA {torch_cuda}, ONNX Runtime with {onnxruntime_cuda}: "
            "their wheels of cuDNN write over each other"
        )
        level = Level.BROKEN if driver.gpus else Level.NOTE
        findings.append(Finding(level, "CUDA versions", cause, _CUDA_FIX))
    return findings


def _major(version: str) -> str:
    return version.partition(".")[0]
