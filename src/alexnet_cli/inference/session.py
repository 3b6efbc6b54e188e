"""An exported model, loaded: ONNX, or safetensors that carry their graph.

Shape letters: B batch, S side of a crop, K classes. Imports that few files need are local; together
they cost a tenth of one prediction.
"""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from alexnet_cli.devices import cpu_quota, num_cores
from alexnet_cli.errors import ModelFileError, is_out_of_memory
from alexnet_cli.inference.gpu_check import CPU
from alexnet_cli.inference.providers import (
    ORT_ERRORS,
    Providers,
    check_provider,
    choose_providers,
    open_session,
    providers_for_int8,
    runtime_message,
)
from alexnet_cli.manifest import (
    METADATA_KEY,
    SAFETENSORS,
    Deployment,
    ExportPrecision,
    Manifest,
    manifest_from_json,
    model_format,
    read_safetensors_header,
    verify_weights_hash,
)

_Result = TypeVar("_Result")

GRAPH_KEY = "alexnet.graph"
"""Metadata of a safetensors export: the ONNX graph without weights, zlib, base64."""

WEIGHTS_FILE_KEY = "alexnet.weights"
"""Metadata of a graph with shared weights: file name and SHA-256 of that file's header."""

_ROUNDING = 1e-3  # of float16
_MAX_GRAPH_BYTES = 64 << 20
_OTHER_EXPORT = "from another export"


class Model:
    """An exported model, loaded: uint8 images in, logits or class probabilities out."""

    def __init__(self, session: Any, manifest: Manifest, path: Path, note: str | None) -> None:
        self._session, self._path = session, path
        self.manifest = manifest
        self.note = note  # why it does not run on a GPU, if `auto` chose the device

    @property
    def provider(self) -> str:
        """The provider that really runs, such as `CPUExecutionProvider`."""
        return str(self._session.get_providers()[0])

    def logits(self, images_BSSC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return logits (B, K) of uint8 RGB images (B, S, S, 3), S the manifest's `input_side_px`.

        Their softmax is the probabilities, also where the file averages views by itself.
        """
        return self._run("logits", images_BSSC)

    def probabilities(self, images_BSSC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return class probabilities (B, K) of uint8 RGB images as `logits` takes them."""
        probabilities_BK = self._run("probabilities", images_BSSC)
        if not ((probabilities_BK >= 0) & (probabilities_BK <= 1 + _ROUNDING)).all():
            raise _unusable(self._path, "its probabilities are not between 0 and 1")
        return probabilities_BK

    def _run(self, output: str, images_BSSC: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            (result,) = _interruptible(lambda: self._session.run([output], {"images": images_BSSC}))
        except ORT_ERRORS as error:
            if is_out_of_memory(error):
                raise MemoryError from error
            raise _unusable(self._path, f"ONNX Runtime: {runtime_message(error)}") from error
        if not np.isfinite(result).all():
            raise _unusable(self._path, "its answers are not finite numbers")
        return np.asarray(result, np.float32)


def load_model(path: Path, *, device: str = "auto", for_many: bool = True) -> Model:
    """Load an exported model.

    Unless `for_many` batches follow, the session is optimised for an early first answer: basic
    graph optimisations, weights not repacked, and those in a safetensors file not compared with
    their hash. An int8 file is opened the same way for one image as for many, so that its answers
    are the same.

    Raises:
        ModelFileError: Missing, damaged, or not an alexnet export.
        DeviceError: The device cannot be used.
        MemoryError: There is too little memory.
    """
    if not path.is_file():
        raise ModelFileError(f"no such model: {path}", hint=export_hint(path), code="model_missing")
    providers = choose_providers(device)
    session, failure = _open(path, providers, for_many=for_many)
    manifest, deployment, metadata = _read_metadata(session, path)
    if deployment.precision is ExportPrecision.INT8:
        is_on_gpu, providers = providers.wanted != CPU, providers_for_int8(providers)
        if is_on_gpu or not for_many:
            # With basic optimisations its layers would run in float32, and answer differently.
            session, failure = _open(path, providers, for_many=True)
    note = check_provider(session, providers, failure, read_graph=lambda: _read_graph(path))
    weights = path if model_format(path) == SAFETENSORS else _shared_weights(metadata, path)
    if for_many and weights is not None and not verify_weights_hash(weights):
        raise _unusable(weights, "its weights are damaged: their sha256 differs")
    return Model(session, manifest, path, note)


def _read_metadata(session: Any, path: Path) -> tuple[Manifest, Deployment, dict[str, str]]:
    """Return a session's manifest, the export that it describes, and all metadata; check them."""
    try:
        metadata = session.get_modelmeta().custom_metadata_map
        inputs = [(i.name, i.type, list(i.shape)[1:]) for i in session.get_inputs()]
        outputs = [(o.name, list(o.shape)[1:]) for o in session.get_outputs()]
    except UnicodeDecodeError as error:
        raise _unusable(path, "its names or metadata are not UTF-8") from error
    if METADATA_KEY not in metadata:
        raise _unusable(path, "it has no alexnet manifest", code="manifest_invalid")
    manifest = _parse_manifest(metadata[METADATA_KEY], path)
    side, num_classes = manifest.input_side_px, manifest.network.num_classes
    if inputs != [("images", "tensor(uint8)", [side, side, 3])] or outputs != [
        ("logits", [num_classes]),
        ("probabilities", [num_classes]),
    ]:
        raise _unusable(path, "its inputs and outputs are not those of its manifest")
    if manifest.deployment is None:
        raise _unusable(path, "its manifest describes no export", code="manifest_invalid")
    return manifest, manifest.deployment, metadata


def _interruptible(run: Callable[[], _Result]) -> _Result:
    """Call a function in a thread, so that signals are handled even if it never returns.

    Python handles them in the main thread, and not while that is inside a library.
    """
    results: list[_Result] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            results.append(run())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _open(path: Path, providers: Providers, *, for_many: bool) -> tuple[Any, str | None]:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # failures come as exceptions; the log would repeat them
    if cpu_quota():
        options.intra_op_num_threads = num_cores()  # by default one for each core of the host
    if not for_many:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.add_session_config_entry("session.disable_prepacking", "1")
        # Its threads wait in a loop for work by default: for one image that only costs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        if model_format(path) == SAFETENSORS:
            return _open_safetensors(path, options, providers)
        # ONNX Runtime takes only UTF-8 paths; otherwise pass the bytes.
        is_text = str(path).encode(errors="ignore") == os.fsencode(path)
        model = str(path) if is_text else path.read_bytes()
        return _interruptible(lambda: open_session(model, options, providers))
    except ORT_ERRORS as error:
        if is_out_of_memory(error):
            raise MemoryError from error
        reason = f"ONNX Runtime: {runtime_message(error)}"
        # A graph whose weights file is too short fails here, before hashes are compared.
        if path.suffix == ".onnx" and "out of bounds" in str(error):
            reason = f"its weights file is truncated, or {_OTHER_EXPORT}"
        raise _unusable(path, reason) from error


def _unusable(path: Path, reason: str, code: str | None = None) -> ModelFileError:
    message = f"cannot use the model {path} ({reason})"
    return ModelFileError(message, hint=export_hint(path), code=code)


def export_hint(path: Path) -> str:
    """Return the command that writes a model file (again), from the run that it is in, if any."""
    import shlex

    from alexnet_cli.networks import PRETRAINED
    from alexnet_cli.run_folder import RunFolder, pretrained_folder

    for name in PRETRAINED:
        if path.parent == pretrained_folder(name):
            return f"fetch it again with: alexnet download --weights {name} --force"
    run = RunFolder(path.parent)
    command = ["alexnet", "export", *([str(run.path)] if run.checkpoints.is_dir() else [])]
    command += ["--format", "safetensors" if path.suffix == ".safetensors" else "onnx"]
    first, *special = path.stem.split("-")  # see `export_name`
    if first == "model":
        for precision in ExportPrecision:
            command += ["--precision", precision] if precision in special else []
        command += ["--views", "10"] if "10views" in special else []
        command += ["--shared-weights"] if "shared" in special else []
        command += ["--force"] if path.exists() else []
    return f"export it with: {shlex.join(command)}"


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of a safetensors export, and nothing else of it.

    Raises:
        ModelFileError: Damaged, or not an alexnet export.
    """
    try:
        text = json.loads(_read_header(path))["__metadata__"][METADATA_KEY]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unusable(path, "it has no alexnet manifest", code="manifest_invalid") from error
    return _parse_manifest(text, path)


def _parse_manifest(text: str, path: Path) -> Manifest:
    try:
        return manifest_from_json(text, source=str(path))
    except ModelFileError as error:
        error.hint = export_hint(path)
        raise


def _shared_weights(metadata: dict[str, str], path: Path) -> Path | None:
    """Return the file of a graph's external weights, or None; refuse one of another export."""
    import hashlib

    if WEIGHTS_FILE_KEY not in metadata:
        return None
    name, _, expected = metadata[WEIGHTS_FILE_KEY].partition(" ")
    weights = path.parent / Path(name).name
    try:
        header = read_safetensors_header(weights)
    except (OSError, ValueError) as error:  # no such file, or a name that no file can have
        raise _unusable(path, f"its weights file {name!r} is missing or cannot be read") from error
    if hashlib.sha256(header).hexdigest() != expected:
        raise _unusable(path, f"its weights file {weights.name} is {_OTHER_EXPORT}")
    return weights


def _open_safetensors(path: Path, options: Any, providers: Providers) -> tuple[Any, str | None]:
    """Open the graph in a safetensors file's metadata on the tensors in the file."""
    header, tensors = read_safetensors(path)
    graph = _unpack_graph(header, path)
    values = [ort.OrtValue.ortvalue_from_numpy(tensor) for tensor in tensors.values()]
    options.add_external_initializers(list(tensors), values)  # not copied before the session opens
    return open_session(graph, options, providers)


def _unpack_graph(header: dict[str, Any], path: Path) -> bytes:
    import base64
    import zlib

    try:
        packed = base64.b64decode(header["__metadata__"][GRAPH_KEY], validate=True)
        return zlib.decompressobj().decompress(packed, _MAX_GRAPH_BYTES)
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise _unusable(path, "it was not written by alexnet export") from error


def _read_graph(path: Path) -> Any:
    """Return a file's graph as onnx's `GraphProto`, perhaps without its weights."""
    import onnx

    if model_format(path) == SAFETENSORS:
        return onnx.load_from_string(_unpack_graph(json.loads(_read_header(path)), path)).graph
    return onnx.load(path, load_external_data=False).graph


def _read_header(path: Path) -> bytes:
    try:
        return read_safetensors_header(path)
    except ValueError as error:
        raise _unusable(path, str(error)) from error


def read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    """Read a safetensors file of float32 tensors.

    The safetensors package would do, but its numpy reader copies; here the tensors are views of
    one memory-mapped file.

    Returns:
        The header, and the tensors by name.

    Raises:
        ModelFileError: Not such a file, or cut short.
    """
    raw = _read_header(path)
    try:
        header = json.loads(raw)
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        data = np.memmap(path, np.uint8, mode="r", offset=8 + len(raw)) if entries else None
        tensors = {name: _tensor(data, entry) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _unusable(path, f"not a valid safetensors file: {error}") from error
    return header, tensors


def _tensor(data: Any, entry: dict[str, Any]) -> NDArray[np.float32]:
    begin, end = entry["data_offsets"]
    if entry["dtype"] != "F32" or not 0 <= begin <= end <= len(data):
        raise ValueError(f"tensor {entry}")
    return np.asarray(data[begin:end]).view(np.float32).reshape(entry["shape"])
