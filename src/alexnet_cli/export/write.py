"""Exported files: everything is built and compared with PyTorch first, then written."""

import base64
import hashlib
import json
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet_cli.errors import ExportError
from alexnet_cli.export.graph import deploy, describe, plan_deployment, with_views
from alexnet_cli.export.model_card import write_card
from alexnet_cli.export.parity import Compared, compare, require_parity
from alexnet_cli.export.settings import ExportSettings, Format
from alexnet_cli.files import atomic_write, temporary_folder
from alexnet_cli.image import crop_centre
from alexnet_cli.inference.session import GRAPH_KEY, WEIGHTS_FILE_KEY, load_model
from alexnet_cli.manifest import METADATA_KEY, WEIGHTS_HASH_KEY, Deployment, Manifest, Parity
from alexnet_cli.models.layers import PixelNetwork
from alexnet_cli.runs import ONNX_NAME, SAFETENSORS_NAME

_NUM_REPEATED = 8  # images on which the finished files are run once more


@dataclass(frozen=True)
class Exported:
    """A file that was written, what is in it, and how it compares to the trained network."""

    path: Path
    num_bytes: int
    manifest: Manifest
    parity: Parity


def export_model(
    core: torch.nn.Module,
    manifest: Manifest,
    folder: Path,
    settings: ExportSettings,
    images: Compared,
    calibration_NIIC: NDArray[np.uint8] | None = None,
) -> list[Exported]:
    """Write a trained network's files, and the model card beside them.

    Args:
        core: The network, without input scaling.
        manifest: Its description.
        folder: Where `model.onnx` and `model.safetensors` go.
        settings: What to write.
        images: Images held out of the training, on which PyTorch and ONNX Runtime are compared.
        calibration_NIIC: For int8: uint8 squares that were trained on, (N, I, I, 3).

    Raises:
        UsageError: The settings contradict each other.
        ExportError: A file's answers differ; none was written.
    """
    settings.check()
    core = core.to("cpu", torch.float32).eval()
    calibration = images.squares_BIIC[:0] if calibration_NIIC is None else calibration_NIIC
    deployment = plan_deployment(core, settings, len(calibration))
    manifest = replace(manifest, deployment=deployment)
    side = manifest.input_side_px
    images = replace(images, squares_BIIC=crop_centre(images.squares_BIIC, side))
    graph = deploy(core, manifest, deployment, crop_centre(calibration, side))

    trained = with_views(PixelNetwork(core, manifest.input).eval(), manifest)
    parity = _compare_files(trained, _contents(graph, core, manifest, settings), images, deployment)
    manifest = replace(manifest, deployment=replace(deployment, parity=parity))
    contents = _contents(describe(graph, manifest), core, manifest, settings)
    _run_once_more(contents, images)
    for name, content in contents.items():  # the weights come first: a graph never lacks them
        atomic_write(folder / name, content)
    write_card(folder, manifest, dict.fromkeys(contents, manifest))
    return [Exported(folder / name, len(data), manifest, parity) for name, data in contents.items()]


def _contents(
    graph: onnx.ModelProto, core: torch.nn.Module, manifest: Manifest, settings: ExportSettings
) -> dict[str, bytes]:
    """Return the content of each file."""
    contents = {}
    if settings.writes_weights:
        # Batch normalisation counts its batches in an integer that inference does not use.
        state = core.state_dict()
        weights = {name: value for name, value in state.items() if value.is_floating_point()}
        contents[SAFETENSORS_NAME] = safetensors_bytes(weights, graph, manifest)
    if settings.file_format is not Format.SAFETENSORS:
        if settings.shared_weights:
            graph = shared_graph(graph, contents[SAFETENSORS_NAME], location=SAFETENSORS_NAME)
        contents[ONNX_NAME] = graph.SerializeToString()
    return contents


def _compare_files(
    trained: torch.nn.Module, contents: dict[str, bytes], images: Compared, deployment: Deployment
) -> Parity:
    """Compare each file with the trained network.

    Raises:
        ExportError: One differs, or they do not differ alike.
    """
    parities = set()
    with temporary_folder() as folder:
        for name, content in contents.items():
            atomic_write(folder / name, content)
        for name in contents:
            if name == ONNX_NAME:
                onnx.checker.check_model(folder / name, full_check=True)
            parity = compare(trained, load_model(folder / name, device="cpu"), images)
            require_parity(parity, name=name, precision=deployment.precision)
            parities.add(parity)
    if len(parities) != 1:
        raise _unlike()
    return parities.pop()


def _run_once_more(contents: dict[str, bytes], images: Compared) -> None:
    """See that the finished files can be read, and answer the same to the bit.

    Raises:
        ExportError: They do not.
    """
    batch = np.ascontiguousarray(images.squares_BIIC[:_NUM_REPEATED])
    answers = set()
    with temporary_folder() as folder:
        for name, content in contents.items():
            atomic_write(folder / name, content)
        for name in contents:
            answers.add(load_model(folder / name, device="cpu").logits(batch).tobytes())
    if len(answers) != 1:
        raise _unlike()


def _unlike() -> ExportError:
    return ExportError(
        "the files of this export do not answer alike; nothing was written",
        hint="write one of them alone: alexnet export --format onnx",
    )


def safetensors_bytes(
    weights: dict[str, Tensor], graph: onnx.ModelProto, manifest: Manifest
) -> bytes:
    """Return a safetensors file that `predict` can run by itself.

    Its metadata hold the manifest and the ONNX graph without weights, so that the same graph
    runs whichever file a user keeps.

    Args:
        weights: The network's state dict, float32.
        graph: The graph of `build_graph`.
        manifest: The model's description.
    """
    bare = external_graph(graph, dict.fromkeys(weights, (0, 0)), location="weights")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    bare_file = safetensors.torch.save(tensors)
    metadata = {
        "format": "pt",
        WEIGHTS_HASH_KEY: hashlib.sha256(bare_file[8 + len(_header(bare_file)) :]).hexdigest(),
        METADATA_KEY: manifest.to_json(),
        GRAPH_KEY: base64.b64encode(zlib.compress(bare.SerializeToString(), 9)).decode(),
    }
    return _with_sorted_header(safetensors.torch.save(tensors, metadata))


def _with_sorted_header(content: bytes) -> bytes:
    """Put the metadata in a fixed order; safetensors' own changes from one save to the next."""
    old = _header(content)
    header = json.dumps(json.loads(old), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)  # tensors stay aligned
    return struct.pack("<Q", len(header)) + header + content[8 + len(old) :]


def _header(content: bytes) -> bytes:
    (length,) = struct.unpack("<Q", content[:8])
    return content[8 : 8 + length]


def shared_graph(graph: onnx.ModelProto, weights_file: bytes, *, location: str) -> onnx.ModelProto:
    """Return a copy of a graph whose weights are read from a safetensors file beside it.

    Args:
        graph: The graph of `build_graph`.
        weights_file: The content of the safetensors file.
        location: Its file name.
    """
    shared = external_graph(graph, _positions(weights_file), location=location)
    entry = shared.metadata_props.add()
    entry.key = WEIGHTS_FILE_KEY
    entry.value = f"{location} {hashlib.sha256(_header(weights_file)).hexdigest()}"
    return shared


def _positions(weights_file: bytes) -> dict[str, tuple[int, int]]:
    """Return (offset in the file, length), in bytes, of each tensor."""
    raw = _header(weights_file)
    header, length = json.loads(raw), len(raw)
    return {
        name: (
            8 + length + entry["data_offsets"][0],
            entry["data_offsets"][1] - entry["data_offsets"][0],
        )
        for name, entry in header.items()
        if name != "__metadata__"
    }


def external_graph(
    graph: onnx.ModelProto, positions: dict[str, tuple[int, int]], *, location: str
) -> onnx.ModelProto:
    """Return a copy of a graph with some initializers replaced by references.

    Args:
        graph: A graph with its weights inside.
        positions: Offset and length in bytes by initializer name.
        location: The file they refer to.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    for tensor in copy.graph.initializer:
        if tensor.name not in positions:
            continue
        offset, length = positions[tensor.name]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", offset), ("length", length)):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, str(value)
    return copy
