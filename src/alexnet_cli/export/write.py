"""Writing exported files: everything is built and compared first, then put in place."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from alexnet_cli.export.onnx_graph import build_graph
from alexnet_cli.export.parity import Parity, compare, require_parity
from alexnet_cli.export.weights import safetensors_bytes, shared_graph
from alexnet_cli.files import atomic_write, temporary_folder
from alexnet_cli.inference.session import load_model
from alexnet_cli.manifest import Manifest
from alexnet_cli.models.normalise import PixelNetwork
from alexnet_cli.runs import ONNX_NAME, SAFETENSORS_NAME


class Format(StrEnum):
    """File formats of an export."""

    ONNX = "onnx"
    SAFETENSORS = "safetensors"
    ALL = "all"


@dataclass(frozen=True)
class Exported:
    """A file that was written, and how it compares to the trained network."""

    path: Path
    num_bytes: int
    parity: Parity


def export_model(
    core: torch.nn.Module,
    manifest: Manifest,
    folder: Path,
    *,
    file_format: Format,
    shared_weights: bool,
    images_BSSC: NDArray[np.uint8],
) -> list[Exported]:
    """Write a trained network's files.

    Args:
        core: The network, without input scaling.
        manifest: Its description.
        folder: Where `model.onnx` and `model.safetensors` go.
        file_format: Which of them.
        shared_weights: Whether `model.onnx` refers to `model.safetensors` for its weights; that
            file is then written too.
        images_BSSC: Real crops (B, S, S, 3), uint8, on which PyTorch and ONNX Runtime are compared.

    Raises:
        ExportError: A file's answers differ; none was written.
    """
    core = core.to("cpu", torch.float32).eval()
    network = PixelNetwork(core, manifest.input).eval()
    contents = _build(network, manifest, file_format, shared_weights=shared_weights)
    exported = []
    with temporary_folder() as temporary:
        for name, content in contents.items():
            atomic_write(temporary / name, content)
        for name, content in contents.items():
            candidate = temporary / name
            if name == ONNX_NAME:
                onnx.checker.check_model(candidate, full_check=True)
            parity = compare(network, load_model(candidate, device="cpu"), images_BSSC)
            require_parity(parity, name=name)
            exported.append(Exported(folder / name, len(content), parity))
    for name, content in contents.items():  # the weights come first: a graph never lacks them
        atomic_write(folder / name, content)
    return exported


def _build(
    network: PixelNetwork, manifest: Manifest, file_format: Format, *, shared_weights: bool
) -> dict[str, bytes]:
    graph = build_graph(network, manifest)
    contents = {}
    if file_format is not Format.ONNX or shared_weights:
        state = network.network.state_dict()
        # Batch normalisation counts its batches in an integer that inference does not use.
        weights = {name: value for name, value in state.items() if value.is_floating_point()}
        contents[SAFETENSORS_NAME] = safetensors_bytes(weights, graph, manifest)
    if file_format is not Format.SAFETENSORS:
        if shared_weights:
            graph = shared_graph(graph, contents[SAFETENSORS_NAME], location=SAFETENSORS_NAME)
        contents[ONNX_NAME] = graph.SerializeToString()
    return contents
