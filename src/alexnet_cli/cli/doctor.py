"""`alexnet doctor`."""

import dataclasses
import textwrap
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alexnet_cli.cli.options import Json, Quiet
from alexnet_cli.console import counted, note, print_json, printable, stdout_console

if TYPE_CHECKING:
    from alexnet_cli.doctor.diagnose import Diagnosis
    from alexnet_cli.doctor.machine import Finding
    from alexnet_cli.doctor.trial import Trial

EXAMPLES = (
    "alexnet doctor",
    "alexnet doctor --deep",
    "alexnet doctor --json",
)


def command(
    deep: Annotated[
        bool,
        typer.Option(
            "--deep",
            help="Also run a small network on each device, through PyTorch and through ONNX "
            "Runtime, and compare (about ten seconds).",
        ),
    ] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Examine this machine and this installation; name each problem and its fix.

    Exit code 1 if something is broken. A note, such as a machine without a GPU, is not.
    """
    from alexnet_cli.doctor.diagnose import examine

    begin = time.perf_counter()
    diagnosis = examine()
    trials: list[Trial] | None = None
    if deep:
        note("running a small network on each device ...", quiet=quiet)
        trials, found = _run_trials(diagnosis)
        findings = sorted([*diagnosis.findings, *found], key=lambda f: f.level)  # broken, note
        diagnosis = dataclasses.replace(diagnosis, findings=findings)
    if json:
        print_json(_document(diagnosis, trials))
    else:
        _print_facts(diagnosis, trials)
        _print_findings(diagnosis)
    note(f"took {time.perf_counter() - begin:.1f} s", quiet=quiet)
    if diagnosis.num_broken:
        raise typer.Exit(1)


def _run_trials(diagnosis: "Diagnosis") -> "tuple[list[Trial], list[Finding]]":
    from alexnet_cli.doctor.diagnose import torch_import_findings

    found = torch_import_findings()
    if found:
        return [], found
    from alexnet_cli.doctor.trial import run_trials, trial_findings

    devices = ["cpu", *(f"cuda:{gpu.index}" for gpu in diagnosis.driver.gpus)]
    has_tensorrt = len(devices) > 1 and all(f.subject != "TensorRT" for f in diagnosis.findings)
    trials = list(run_trials(devices, [*devices, *(["tensorrt"] if has_tensorrt else [])]))
    return trials, trial_findings(trials)


def _document(diagnosis: "Diagnosis", trials: "list[Trial] | None") -> dict[str, Any]:
    document = dataclasses.asdict(diagnosis)
    if diagnosis.cache is not None:
        document["cache"]["folder"] = str(diagnosis.cache.folder)
    document["findings"] = [
        {"level": each.level, "subject": each.subject, "cause": each.cause, "fix": each.fix}
        for each in diagnosis.findings
    ]
    document["is_sound"] = diagnosis.num_broken == 0
    document["trials"] = None if trials is None else [dataclasses.asdict(t) for t in trials]
    return document


def _print_facts(diagnosis: "Diagnosis", trials: "list[Trial] | None") -> None:
    sections = {
        "versions": _version_rows(diagnosis),
        "machine": _machine_rows(diagnosis),
        "by default": _default_rows(diagnosis),
    }
    if trials:
        sections["a small network"] = [_trial_row(trial) for trial in trials]
    console = stdout_console()
    indent = 4 + max(len(name) for rows in sections.values() for name, _ in rows)
    for title, rows in sections.items():
        console.print(f"[bold]{title}[/bold]")
        for name, value in rows:
            lines = textwrap.wrap(printable(value), max(console.width - indent, 20)) or [""]
            print(f"  {name:<{indent - 2}}" + f"\n{' ' * indent}".join(lines))


def _version_rows(diagnosis: "Diagnosis") -> list[tuple[str, str]]:
    cuda = {"torch": diagnosis.torch_cuda or "none, a CPU build"}
    for name in diagnosis.versions:
        if name.startswith("onnxruntime"):
            cuda[name] = diagnosis.onnxruntime_cuda or "none, a CPU build"
    return [
        (name, (version or "not installed") + (f" (CUDA {cuda[name]})" if name in cuda else ""))
        for name, version in diagnosis.versions.items()
    ]


def _machine_rows(diagnosis: "Diagnosis") -> list[tuple[str, str]]:
    cpu, driver, cache = diagnosis.cpu, diagnosis.driver, diagnosis.cache
    threads = "" if cpu.num_threads is None else f", OMP_NUM_THREADS={cpu.num_threads}"
    rows = [
        ("processor", f"{cpu.model}, {cpu.num_processors} processors{threads}"),
        ("instructions", ", ".join(cpu.instructions) or "none that matter here"),
    ]
    for gpu in driver.gpus:
        capability = ".".join(map(str, gpu.capability))
        memory = f"{gpu.memory_bytes / 2**30:.1f} GiB"
        rows.append((f"cuda:{gpu.index}", f"{gpu.name}, {memory}, compute capability {capability}"))
    if not driver.gpus:
        rows.append(("GPU", "none"))
    rows.append(("NVIDIA driver", _driver_text(diagnosis)))
    rows.append(("C compiler", diagnosis.compiler or "none"))
    if cache is not None:
        free = f"{cache.free_bytes / 1e9:,.1f} GB free"
        rows.append(("cache folder", f"{cache.folder}, {free}"))
    return [*rows, *(("variable", f"{v.name}={v.value}") for v in diagnosis.variables)]


def _driver_text(diagnosis: "Diagnosis") -> str:
    driver = diagnosis.driver
    if not driver.is_installed:
        return "none"
    newest = "" if driver.cuda_version is None else "CUDA up to {}.{}".format(*driver.cuda_version)
    return ", ".join(filter(None, (driver.version, newest))) or "of unknown version"


def _default_rows(diagnosis: "Diagnosis") -> list[tuple[str, str]]:
    precision, kernel = diagnosis.precision, "Triton"
    if diagnosis.training == "cpu" and diagnosis.compiler is None:
        kernel = "a convolution, for lack of a C compiler"
    elif diagnosis.training == "cpu":
        num_kernels = 0 if diagnosis.cache is None else diagnosis.cache.num_kernels
        kernel = f"compiled C, {num_kernels} kernels in the cache folder"
    return [
        ("training", diagnosis.training),
        ("precision", f"{precision.name}: {precision.reason}"),
        ("LRN", kernel),
        ("prediction", diagnosis.prediction),
    ]


def _trial_row(trial: "Trial") -> tuple[str, str]:
    name = f"{trial.runtime}, {trial.device}"
    if trial.error is not None or trial.batch_seconds is None:
        return name, f"failed: {trial.error}"
    return name, (
        f"first answer {trial.seconds * 1e3:,.0f} ms, then {trial.batch_seconds * 1e3:,.1f} ms; "
        f"off by {trial.max_difference:.0e}; {trial.detail}"
    )


def _print_findings(diagnosis: "Diagnosis") -> None:
    """Print the findings; a fix stays on one line, so that it can be copied."""
    from rich.text import Text

    console = stdout_console()
    styles = {"broken": "bold red", "note": "bold"}
    for finding in diagnosis.findings:
        text = Text(printable(f": {finding.subject}: {finding.cause}"))
        console.print(Text(finding.level.value, style=styles[finding.level]) + text)
        if finding.fix:
            console.print(Text(f"  fix: {printable(finding.fix)}"), soft_wrap=True)
    console.print(_summary(diagnosis.findings, diagnosis.num_broken))


def _summary(findings: "list[Finding]", num_broken: int) -> str:
    num_notes = len(findings) - num_broken
    notes = f", {counted(num_notes, 'note')}" if num_notes else ""
    return f"{num_broken} broken{notes}" if num_broken else f"nothing is broken{notes}"
