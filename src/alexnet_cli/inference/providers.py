"""The hardware that ONNX Runtime uses: the requested device runs, or an error names the cause.

ONNX Runtime lists providers that do not work, and falls back to the CPU silently when a library is
missing. So known problems are looked for first, then the session is asked what it runs on and where
it placed each node of the network.
"""

import contextlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import onnxruntime as ort

from alexnet_cli.devices import parse_device
from alexnet_cli.errors import DeviceError, first_line
from alexnet_cli.files import cache_folder
from alexnet_cli.inference.gpu_check import (
    CPU,
    CUDA,
    TENSORRT,
    Problem,
    cuda_problems,
    provider_load_error,
    read_driver,
    tensorrt_problems,
)

_STATE = vars(ort.capi.onnxruntime_pybind11_state).values()
ORT_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,  # of providers that do not start
    UnicodeDecodeError,  # of names and messages that are not UTF-8
    *(each for each in _STATE if isinstance(each, type) and issubclass(each, Exception)),
)
_NOISE = (
    r"\[ONNXRuntimeError\] : \d+ : \w+ : "
    # file:line, then a function with or without its signature
    r"|(?:/[\w./+-]*/)?\w+\.(?:cc|cpp|h):\d+ (?:[\w:<>*&~ ]*[\w>]\([^)]*\)|\w+)"
)
_MAX_CHARACTERS = 200

_NAMES = {CUDA: "CUDA", TENSORRT: "TensorRT"}


def runtime_message(error: Exception) -> str:
    """Return the first line of an error of ONNX Runtime, without codes and source locations."""
    import re
    import textwrap

    text = " ".join(re.sub(_NOISE, " ", first_line(error)).removesuffix(".").split())
    return textwrap.shorten(text, _MAX_CHARACTERS, placeholder=" …")


@dataclass(frozen=True)
class Providers:
    """The providers that a device stands for, in order of preference."""

    device: str  # value of `--device`
    options: dict[str, dict[str, str]] = field(default_factory=lambda: {CPU: {}})  # by provider
    note: str | None = None  # why `auto` uses no GPU

    @property
    def wanted(self) -> str:
        return next(iter(self.options))


def choose_providers(device: str) -> Providers:
    """Return the providers of `auto`, `cpu`, `cuda`, `cuda:N` or `tensorrt`.

    Raises:
        UsageError: Another name.
        DeviceError: The device cannot be used here.
    """
    kind, index = parse_device(device, has_tensorrt=True)
    if kind == "cpu":
        return Providers(device)
    available, driver = ort.get_available_providers(), read_driver()
    options = {CUDA: _cuda_options(index or 0), CPU: {}}
    if kind == "auto":
        problem = next(cuda_problems(available, driver), None)
        if problem is not None:
            has_gpu = driver.gpus or driver.problem  # else nobody expects it to be used
            note = f"running on the CPU ({problem.cause})" if has_gpu else None
            return Providers(device, note=note)
    elif kind == "cuda":
        refuse(device, list(cuda_problems(available, driver, index=index)))
    else:
        refuse(device, list(tensorrt_problems(available, driver)))
        options = {TENSORRT: _tensorrt_options(), **options}
    return Providers(device, options)


def refuse(device: str, problems: list[Problem]) -> None:
    """Raise one error for all problems, so that fixing one does not reveal the next.

    Raises:
        DeviceError: There are any.
    """
    if problems:
        fixes = dict.fromkeys(problem.fix for problem in problems)
        causes = "; ".join(problem.cause for problem in problems)
        raise _not_usable(device, causes, "; then: ".join(fixes) + "; or use --device cpu")


def _not_usable(device: str, cause: str, hint: str) -> DeviceError:
    return DeviceError(f"--device {device} is not usable: {cause}", hint=hint)


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


def open_session(model: str | bytes, options: Any, providers: Providers) -> tuple[Any, str | None]:
    """Open a session, on the CPU if another provider does not start.

    Returns:
        The session, and ONNX Runtime's error if the wanted provider did not start.
    """

    def open_with(chosen: dict[str, dict[str, str]]) -> Any:
        with contextlib.redirect_stdout(sys.stderr):  # ONNX Runtime prints "EP Error" banners
            return ort.InferenceSession(
                model, options, list(chosen), list(chosen.values()), enable_fallback=0
            )

    if providers.wanted == CPU:
        return open_with(providers.options), None
    ort.set_default_logger_severity(4)  # the error replaces its log lines
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        return open_with(providers.options), None
    except ORT_ERRORS as error:
        return open_with({CPU: {}}), runtime_message(error)  # raises if the model is the cause


def providers_for_int8(providers: Providers) -> Providers:
    """Return the CPU: on CUDA the layers of an int8 file would run in float32, and slowly.

    Raises:
        DeviceError: A GPU was required.
    """
    if providers.wanted == CPU:
        return providers
    hint = "export a file for GPUs: alexnet export --precision fp16"
    if providers.device == "auto":
        return Providers("auto", note=f"running on the CPU (int8 files are for it; {hint})")
    raise _not_usable(providers.device, "this file is int8, which is for CPUs", hint)


def check_provider(
    session: Any,
    providers: Providers,
    failure: str | None = None,
    *,
    read_graph: Callable[[], Any],
) -> str | None:
    """Return why the session does not run on a GPU, if `auto` chose the CPU.

    `failure` is ONNX Runtime's error if the wanted provider did not start. `read_graph` returns
    the session's graph as onnx's `GraphProto`; it is called if the CPU runs some of its nodes.

    Raises:
        DeviceError: It fell back, entirely or for some nodes, although the device was required.
    """
    if providers.wanted == CPU:
        return providers.note
    name, is_required = _NAMES[providers.wanted], providers.device != "auto"
    if session.get_providers()[0] != providers.wanted:
        reason = failure or provider_load_error(providers.wanted) or "for an unknown reason"
        cause = f"ONNX Runtime could not start {name}: {reason}"
        if not is_required:
            return f"running on the CPU ({cause})"
        hint = "find the cause with: alexnet doctor --deep; or use --device cpu"
        raise _not_usable(providers.device, cause, hint)
    found = placed_nodes(session) if is_required else {}
    hint = "let both share the work with --device auto, or use --device cpu"
    if found and providers.wanted not in found:
        raise _not_usable(providers.device, f"{name} took none of the network's operators", hint)
    if on_cpu := found.get(CPU):
        apart = nodes_without_pixels(read_graph())
        if strays := sorted({kind for node, kind in on_cpu.items() if node not in apart}):
            cause = f"{name} cannot run {', '.join(strays)} of this network"
            raise _not_usable(providers.device, f"{cause}, which would run on the CPU", hint)
    return None


def placed_nodes(session: Any) -> dict[str, dict[str, str]]:
    """Return the nodes that each provider runs, name to operator, if the session recorded them."""
    found: dict[str, dict[str, str]] = {}
    if hasattr(session, "get_provider_graph_assignment_info"):  # from ONNX Runtime 1.24 on
        for part in session.get_provider_graph_assignment_info():
            nodes = {node.name: node.op_type for node in part.get_nodes()}
            found.setdefault(part.ep_name, {}).update(nodes)
    return found


def nodes_without_pixels(graph: Any) -> set[str]:
    """Return the names of the nodes that compute with sizes and constants only.

    ONNX Runtime places them on the CPU on purpose: a few integers are there in no time.
    `session.disable_cpu_ep_fallback` would refuse them, and so every graph with a dynamic batch.
    """
    found, from_pixels = set(), {value.name for value in graph.input}
    for node in graph.node:  # in the order of their computation
        if node.op_type in ("Shape", "Size") or from_pixels.isdisjoint(node.input):
            found.add(node.name)
        else:
            from_pixels.update(node.output)
    return found
