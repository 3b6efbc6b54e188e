"""The hardware that ONNX Runtime uses: what was asked for runs, or an error names the cause.

Being listed by ONNX Runtime means little: it falls back to the CPU silently when a library is
missing. So the known problems are looked for first, then the session is asked what it runs on, and
each node of the network where it was placed.
"""

import contextlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import onnxruntime as ort

from alexnet_cli.devices import parse_device
from alexnet_cli.errors import AlexnetError, DeviceError, first_line
from alexnet_cli.files import cache_folder
from alexnet_cli.inference.gpu_check import (
    CPU,
    CUDA,
    TENSORRT,
    Probe,
    Problem,
    cuda_problems,
    provider_load_error,
    tensorrt_problems,
)

_NOISE = (
    r"\[ONNXRuntimeError\] : \d+ : \w+ : "
    # file:line, then a function with or without its signature
    r"|(?:/[\w./+-]*/)?\w+\.(?:cc|cpp|h):\d+ (?:[\w:<>*&~ ]*[\w>]\([^)]*\)|\w+)"
)
_MAX_CHARACTERS = 200


def runtime_message(error: Exception) -> str:
    """Return the first line of an error of ONNX Runtime, without codes and source locations."""
    import re
    import textwrap

    words = re.sub(_NOISE, " ", first_line(error)).removesuffix(".").split()
    return textwrap.shorten(" ".join(words), _MAX_CHARACTERS, placeholder=" …")


_NAMES = {CPU: "CPU", CUDA: "CUDA", TENSORRT: "TensorRT"}
_RECORD_PLACES = "session.record_ep_graph_assignment_info"
_SHAPE_OPERATORS = frozenset(
    ("Shape", "Size", "Gather", "Squeeze", "Unsqueeze", "Concat", "Slice", "Reshape")
)
"""ONNX Runtime places them on the CPU on purpose where they compute a few integers of a shape.

`session.disable_cpu_ep_fallback` would refuse these nodes too, and so every graph with a dynamic
batch. Nodes are checked one by one instead.
"""
_STATE = ort.capi.onnxruntime_pybind11_state
_FAILURES = (
    RuntimeError, _STATE.Fail, _STATE.RuntimeException, _STATE.EPFail, _STATE.NotImplemented,
    _STATE.InvalidArgument,
)  # fmt: skip


@dataclass
class Providers:
    """The providers of a session, in order of preference.

    Attributes:
        device: The value of `--device`.
        names: Provider names and options.
        required: Whether it is an error if the first one does not run.
        note: Why the GPU is not used with `auto`.
        failure: ONNX Runtime's error when the first one did not start.
    """

    device: str
    names: list[Any] = field(default_factory=lambda: [CPU])
    required: bool = False
    note: str | None = None
    failure: str | None = None

    @property
    def wanted(self) -> str:
        """Name of the provider that should run."""
        first = self.names[0]
        return str(first if isinstance(first, str) else first[0])


def choose_providers(device: str, probe: Probe | None = None) -> Providers:
    """Return the providers of `auto`, `cpu`, `cuda`, `cuda:N` or `tensorrt`.

    Args:
        device: As on the command line.
        probe: What to examine; this process by default.

    Raises:
        UsageError: Another name.
        DeviceError: The device cannot be used here.
    """
    kind, index = parse_device(device, has_tensorrt=True)
    if kind == "cpu":
        return Providers(device)
    probe = probe or Probe(ort.get_available_providers())
    if kind == "auto":
        problem = next(cuda_problems(probe), None)
        if problem is not None:
            return Providers(device, note=f"running on the CPU ({problem.cause})")
    elif kind == "tensorrt":
        refuse(device, list(tensorrt_problems(probe)))
    else:
        refuse(device, list(cuda_problems(probe, index=index)))
    names: list[Any] = [(CUDA, _cuda_options(index or 0)), CPU]
    if kind == "tensorrt":
        names.insert(0, (TENSORRT, _tensorrt_options()))
    return Providers(device, names, required=kind != "auto")


def refuse(device: str, problems: list[Problem]) -> None:
    """Raise one error for all problems, so that fixing one does not reveal the next.

    Raises:
        DeviceError: There are any.
    """
    if not problems:
        return
    fixes = dict.fromkeys(problem.fix for problem in problems)
    raise DeviceError(
        f"--device {device} is not usable: " + "; ".join(problem.cause for problem in problems),
        hint="; then: ".join(fixes) + "; or use --device cpu",
    )


def _cuda_options(index: int) -> dict[str, str]:
    return {
        "device_id": str(index),
        "cudnn_conv_algo_search": "HEURISTIC",  # the default tries every algorithm first
        "use_tf32": "0",  # float32 means float32: the answers are PyTorch's
    }


def _tensorrt_options() -> dict[str, str]:
    """Return options that keep float32 and cache the timing of kernels, but no engines.

    ONNX Runtime names a cached engine after the graph without its weights: a network trained anew
    would answer with the old one's.
    """
    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")  # TensorRT's provider has no option for it
    folder = cache_folder() / "tensorrt"
    folder.mkdir(parents=True, exist_ok=True)
    return {"device_id": "0", "trt_timing_cache_enable": "1", "trt_timing_cache_path": str(folder)}


def open_session(model: str | bytes, options: Any, providers: Providers) -> Any:
    """Open a session that falls back to the CPU for `auto` only, and then with a note.

    Args:
        model: Path or bytes of a graph.
        options: Session options.
        providers: The chosen providers.

    Raises:
        DeviceError: The required device does not start.
    """

    def open_with(names: list[Any]) -> Any:
        with contextlib.redirect_stdout(sys.stderr):  # ONNX Runtime prints "EP Error" banners
            return ort.InferenceSession(model, options, providers=names, enable_fallback=0)

    if providers.wanted == CPU:
        return open_with(providers.names)
    ort.set_default_logger_severity(4)  # the error replaces its log lines
    options.add_session_config_entry(_RECORD_PLACES, "1")
    return _open_or_explain(open_with, providers)


def _open_or_explain(open_with: Callable[[list[Any]], Any], providers: Providers) -> Any:
    try:
        return open_with(providers.names)
    except _FAILURES as error:
        providers.failure = runtime_message(error)
    session = open_with([CPU])  # raises if the model is the cause
    if providers.required:
        raise _not_started(providers)
    return session


def check_provider(session: Any, providers: Providers) -> str | None:
    """Return a note when the session fell back to the CPU, None when it runs as asked.

    Raises:
        DeviceError: It fell back, entirely or for some nodes, although the device was required.
    """
    if session.get_providers()[0] != providers.wanted:
        if providers.required:
            raise _not_started(providers)
        return f"running on the CPU ({_reason(providers)})"
    if providers.required and providers.wanted != CPU:
        _require_places(places(session), providers)
    return providers.note


def places(session: Any) -> dict[str, list[str]]:
    """Return the operators that each provider runs, if the session recorded them."""
    found: dict[str, list[str]] = {}
    if hasattr(session, "get_provider_graph_assignment_info"):  # from ONNX Runtime 1.24 on
        for part in session.get_provider_graph_assignment_info():
            operators = [node.op_type for node in part.get_nodes()]
            found.setdefault(part.ep_name, []).extend(operators)
    return found


def _require_places(found: dict[str, list[str]], providers: Providers) -> None:
    """Refuse a session that runs some layers on another device."""
    strays = sorted(set(found.get(CPU, ())) - _SHAPE_OPERATORS)
    name = _NAMES[providers.wanted]
    if found and providers.wanted not in found:
        cause = f"{name} took none of the network's operators"
    elif strays:
        cause = f"{name} cannot run {', '.join(strays)} of this network, which would run on the CPU"
    else:
        return
    raise DeviceError(
        f"--device {providers.device} is not usable: {cause}",
        hint="let both share the work with --device auto, or use --device cpu",
    )


def _reason(providers: Providers) -> str:
    name = _NAMES[providers.wanted]
    why = providers.failure or provider_load_error(providers.wanted)
    return f"ONNX Runtime could not start {name}: {why or 'for an unknown reason'}"


def _not_started(providers: Providers) -> AlexnetError:
    return DeviceError(
        f"--device {providers.device} is not usable: {_reason(providers)}",
        hint="find the cause with: alexnet doctor --deep; or use --device cpu",
    )
