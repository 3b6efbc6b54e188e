"""Trial runs of a small network on each device, through PyTorch and through ONNX Runtime.

Shape letters: B batch, K classes, S side of a crop, C channels.
"""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from alexnet_cli.doctor.machine import Finding, Level
from alexnet_cli.errors import AlexnetError
from alexnet_cli.export.graph import deploy
from alexnet_cli.export.settings import ExportSettings
from alexnet_cli.files import atomic_write, temporary_folder
from alexnet_cli.inference.gpu_check import GPU_REQUIREMENT, has_gpu_wheel
from alexnet_cli.inference.providers import runtime_message
from alexnet_cli.inference.session import load_model
from alexnet_cli.manifest import InputSpec, Manifest, Provenance
from alexnet_cli.models.build import PixelNetwork, build_network
from alexnet_cli.models.lrn import LocalResponseNorm, kernel_name
from alexnet_cli.networks import Network, NetworkSpec
from alexnet_cli.training.device import resolve_device

_CROP_PX, _NUM_CLASSES, _NUM_IMAGES = 16, 10, 32
_MAX_DIFFERENCE = 1e-3
"""Of logits of about 1, in float32 against float64. Measured on a CPU: 1e-6. GPUs add in another
order, and a wrong kernel is off by far more."""

_ONNXRUNTIME = GPU_REQUIREMENT if has_gpu_wheel() else "onnxruntime"
_FIXES = {
    "PyTorch": "pip install --force-reinstall torch torchvision",
    "ONNX Runtime": f"pip install --force-reinstall {_ONNXRUNTIME}",
}


@dataclass(frozen=True)
class Trial:
    """One runtime on one device."""

    runtime: str  # PyTorch or ONNX Runtime
    device: str  # as on the command line
    seconds: float  # to the first output, with the start of the device
    batch_seconds: float | None = None  # of a second batch of 32 small images
    max_difference: float | None = None  # of a logit from float64 on the CPU
    detail: str = ""  # the LRN kernel, or the provider
    error: str | None = None  # why it failed


def run_trials(torch_devices: list[str], onnxruntime_devices: list[str]) -> Iterator[Trial]:
    """Run a small AlexNet forward and backward, export it, and run the export."""
    spec = NetworkSpec(Network.ALEXNET_CIFAR, _NUM_CLASSES, _CROP_PX)
    scaling = InputSpec(_CROP_PX, _CROP_PX, scale=(0.02,) * 3, shift=(-2.0,) * 3)
    provenance = Provenance("shapes", 0, 1, 1, 0.0, "0" * 64, {})
    manifest = Manifest(spec, scaling, tuple("0123456789"), provenance)
    network = PixelNetwork(build_network(spec, seed=0), scaling).eval()
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (_NUM_IMAGES, _CROP_PX, _CROP_PX, 3), np.uint8)
    with torch.no_grad():
        expected = _in_float64(network, images)
    for device in torch_devices:
        yield _trial("PyTorch", device, expected, partial(_in_pytorch, network, device, images))
    graph, _ = deploy(network.network, manifest, ExportSettings())
    with temporary_folder() as folder:
        path = folder / "model.onnx"
        atomic_write(path, graph.SerializeToString())
        for device in onnxruntime_devices:
            run = partial(_in_onnxruntime, path, device, images)
            yield _trial("ONNX Runtime", device, expected, run)


def trial_findings(trials: list[Trial]) -> list[Finding]:
    """Return a finding for each trial that failed, differed, or used a slow LRN kernel."""
    findings = []
    for trial in trials:
        subject = f"{trial.runtime} on {trial.device}"
        if trial.error is not None:
            findings.append(Finding(Level.BROKEN, subject, trial.error, _FIXES[trial.runtime]))
        # Written so that a NaN fails.
        elif not (trial.max_difference or 0.0) <= _MAX_DIFFERENCE:
            cause = f"its logits differ from float64 by up to {trial.max_difference:.1e}"
            findings.append(Finding(Level.BROKEN, subject, cause, _FIXES[trial.runtime]))
        elif "convolution" in trial.detail:
            findings.append(Finding(Level.NOTE, subject, f"slow {trial.detail}"))
    return findings


def _trial(
    runtime: str,
    device: str,
    expected_BK: NDArray[np.float64],
    run: Callable[[], tuple[Callable[[], NDArray[np.float32]], str]],
) -> Trial:
    """Time the first and the second output of a runtime, and compare the second."""
    begin = time.perf_counter()
    try:
        answer, detail = run()
        answer()
        seconds = time.perf_counter() - begin
        begin = time.perf_counter()
        found_BK = answer()
    except (AlexnetError, RuntimeError, OSError) as error:  # CUDA's errors are RuntimeErrors
        message = error.message if isinstance(error, AlexnetError) else runtime_message(error)
        return Trial(runtime, device, time.perf_counter() - begin, error=message)
    batch_seconds = time.perf_counter() - begin
    difference = float(np.abs(found_BK - expected_BK).max())
    return Trial(runtime, device, seconds, batch_seconds, difference, detail)


def _in_float64(network: PixelNetwork, images_BSSC: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the reference: double precision, with PyTorch's own LRN."""
    exact = copy.deepcopy(network).double()
    for parent in exact.modules():
        for name, layer in parent.named_children():
            if isinstance(layer, LocalResponseNorm):
                reference = nn.LocalResponseNorm(layer.size, layer.alpha, layer.beta, layer.k)
                setattr(parent, name, reference)
    logits_BK: NDArray[np.float64] = exact(torch.from_numpy(images_BSSC)).numpy()
    return logits_BK


def _in_pytorch(
    network: PixelNetwork, device: str, images_BSSC: NDArray[np.uint8]
) -> tuple[Callable[[], NDArray[np.float32]], str]:
    """Prepare a forward and a backward pass."""
    chosen = resolve_device(device)
    own = copy.deepcopy(network).to(chosen)
    images = torch.from_numpy(images_BSSC).to(chosen)

    def answer() -> NDArray[np.float32]:
        own.zero_grad()
        logits = own(images)
        logits.square().mean().backward()
        if not all(p.grad is not None and p.grad.isfinite().all() for p in own.parameters()):
            raise RuntimeError("its gradients are not finite numbers")
        result: NDArray[np.float32] = logits.detach().cpu().numpy()
        return result

    return answer, f"LRN: {kernel_name(chosen)}"


def _in_onnxruntime(
    path: Path, device: str, images_BSSC: NDArray[np.uint8]
) -> tuple[Callable[[], NDArray[np.float32]], str]:
    """Prepare a prediction."""
    model = load_model(path, device=device)
    return lambda: model.logits(images_BSSC), model.provider
