"""The safetensors file, and graphs whose weights are in it."""

import base64
import hashlib
import json
import struct
import zlib

import onnx
import safetensors.torch
from torch import Tensor

from alexnet_cli.inference.session import GRAPH_KEY, WEIGHTS_FILE_KEY
from alexnet_cli.manifest import METADATA_KEY, WEIGHTS_HASH_KEY, Manifest


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
