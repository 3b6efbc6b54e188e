"""The diagnosis of `alexnet doctor`: everything that can be examined without running a network."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from alexnet_cli.config.sources import Variable, list_variables, unread_message
from alexnet_cli.doctor.installation import (
    gpu_findings,
    list_versions,
    own_requirements,
    requirement_findings,
    torch_findings,
)
from alexnet_cli.doctor.machine import (
    Cache,
    Cpu,
    Default,
    Finding,
    Level,
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
    Driver,
    installed_versions,
    onnxruntime_cuda_version,
    onnxruntime_wheels,
    read_driver,
    reinstall_command,
    torch_cuda_version,
)


def variable_findings(variables: Iterable[Variable], known: Iterable[str]) -> list[Finding]:
    """Return a finding for each variable that no command reads."""
    return [
        Finding(Level.BROKEN, "environment", unread_message(each.name, known), f"unset {each.name}")
        for each in variables
        if not each.is_known
    ]


@dataclass(frozen=True)
class Diagnosis:
    """The result.

    Attributes:
        versions: By package; None where one is not installed.
        torch_cuda: CUDA version of PyTorch, None for a CPU build.
        onnxruntime_cuda: CUDA version of ONNX Runtime, None for a CPU build.
        cpu: The processor.
        driver: NVIDIA's driver and its GPUs.
        training: Device of `train --device auto`.
        precision: Number format of `train --precision auto`.
        prediction: Provider of `predict --device auto`.
        compiler: The C compiler, if there is one.
        cache: The cache folder; None if ALEXNET_HOME is unusable.
        variables: The `ALEXNET_*` variables that are set.
        findings: Problems and notes, the problems first.
    """

    versions: dict[str, str | None]
    torch_cuda: str | None
    onnxruntime_cuda: str | None
    cpu: Cpu
    driver: Driver
    training: str
    precision: Default
    prediction: str
    compiler: str | None
    cache: Cache | None
    variables: list[Variable]
    findings: list[Finding]

    @property
    def num_broken(self) -> int:
        """Findings that fail the diagnosis."""
        return sum(finding.level is Level.BROKEN for finding in self.findings)


def examine(
    known_variables: Iterable[str], environment: Mapping[str, str] | None = None
) -> Diagnosis:
    """Examine this machine and this installation.

    Args:
        known_variables: Names of the `ALEXNET_*` variables that a command reads.
        environment: Of the process, by default this one's.
    """
    environment, known = os.environ if environment is None else environment, list(known_variables)
    cpu, compiler, variables = (
        read_cpu(environment), find_compiler(), list_variables(environment, known)
    )  # fmt: skip
    providers, findings = _providers()
    driver, versions = read_driver(), installed_versions()
    torch_cuda, onnxruntime_cuda = torch_cuda_version(), onnxruntime_cuda_version()
    gpu = gpu_findings(providers, driver, has_hardware=has_nvidia_hardware())
    torch = torch_findings(torch_cuda, onnxruntime_cuda, driver, has_torch="torch" in versions)
    cache, of_cache = _cache()
    trains_on_gpu = (
        bool(driver.gpus) and torch_cuda is not None and not _is_broken(torch, "PyTorch")
    )
    findings += [
        *requirement_findings(own_requirements(), versions), *gpu, *torch, *of_cache,
        *variable_findings(variables, known), *thread_findings(cpu),
        *compiler_findings(compiler, environment, trains_on_gpu=trains_on_gpu),
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


def _is_broken(findings: Sequence[Finding], subject: str) -> bool:
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
        folder = cache_folder()
    except UsageError as error:
        return None, [Finding(Level.BROKEN, "cache", error.message, "unset ALEXNET_HOME")]
    cache = read_cache(Path(folder))
    return cache, cache_findings(cache)
