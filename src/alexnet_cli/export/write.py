"""Exported files: everything is built and compared with PyTorch first, then written."""

import base64
import hashlib
import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
import safetensors.torch
import torch
from numpy.typing import NDArray
from onnx.external_data_helper import set_external_data

from alexnet_cli.devices import processor_kind
from alexnet_cli.errors import ExportError, ModelFileError, UsageError
from alexnet_cli.export.graph import deploy, describe, with_views
from alexnet_cli.export.model_card import write_card
from alexnet_cli.export.settings import Compared, ExportSettings
from alexnet_cli.files import atomic_write, temporary_folder
from alexnet_cli.image import crop_centre
from alexnet_cli.inference.session import GRAPH_KEY, WEIGHTS_FILE_KEY, Model, load_model
from alexnet_cli.manifest import METADATA_KEY, WEIGHTS_HASH_KEY, ExportPrecision, Manifest, Parity
from alexnet_cli.models.build import PixelNetwork

MAX_LOGIT_DIFFERENCE = 1e-4
_TIE = 1e-5  # top-1 may differ where the two best logits are this close
_NUM_REPEATED = 8  # images on which the finished files are run once more
EXPORT_EXISTS = "export_exists"  # code of the error
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Exported:
    """A file that was written, what is in it, and how it compares to the trained network."""

    path: Path
    num_bytes: int
    manifest: Manifest

    @property
    def parity(self) -> Parity:
        """Its comparison with the trained network."""
        deployment = self.manifest.deployment
        if deployment is None or deployment.parity is None:
            raise ValueError("the file was not compared")
        return deployment.parity


def export_model(
    network: torch.nn.Module,
    manifest: Manifest,
    folder: Path,
    settings: ExportSettings,
    images: Compared,
    *,
    calibration_NIIC: NDArray[np.uint8] | None = None,
) -> list[Exported]:
    """Write a trained network's files, and the model card in the same folder.

    Args:
        network: The network, without input scaling.
        manifest: Its description.
        folder: Where the files go; `export_name` is the rule of their names.
        settings: Which files, and how.
        images: Images held out of the training, on which PyTorch and ONNX Runtime are compared.
        calibration_NIIC: For int8: uint8 squares that were trained on, (N, I, I, 3).

    Raises:
        UsageError: The settings contradict each other, or a file of other content exists.
        ExportError: A file's answers differ; none was written.
    """
    settings.check()
    network = network.to("cpu", torch.float32).eval()
    contents: dict[str, bytes] = {}
    manifests: dict[str, Manifest] = {}
    for each in settings.by_precision:
        files, described = _build(network, manifest, each, images, calibration_NIIC)
        contents |= files
        manifests |= dict.fromkeys(files, described)
    if not settings.force:
        for name, content in contents.items():
            path = folder / name
            if path.is_file() and path.read_bytes() != content:
                raise _exists_error(path, "has other content")
    for name, content in contents.items():  # the weights come first: a graph never lacks them
        atomic_write(folder / name, content)
    write_card(folder, manifest, manifests)
    return [Exported(folder / name, len(contents[name]), manifests[name]) for name in contents]


def require_free(folder: Path, manifest: Manifest, settings: ExportSettings) -> None:
    """Refuse before the work to replace files that were exported from other weights.

    Raises:
        UsageError: There is such a file, and it is not to be replaced.
    """
    for path in [] if settings.force else [folder / name for name in settings.names]:
        if not path.is_file():
            continue
        try:
            origin = load_model(path, device="cpu", for_many=False).manifest.provenance
        except ModelFileError as error:
            raise _exists_error(path, "is not a usable model") from error
        if origin != manifest.provenance:
            epoch = f"epoch {origin.epoch}, " if origin.epoch else ""
            raise _exists_error(
                path, f"has other weights ({epoch}validation top-1 {origin.val_top1:.2%})"
            )


def _exists_error(path: Path, difference: str) -> UsageError:
    return UsageError(
        f"{path} exists and {difference}; nothing was written",
        hint="replace it with: alexnet export --force; or choose another --output",
        code=EXPORT_EXISTS,
    )


def _build(
    network: torch.nn.Module,
    manifest: Manifest,
    settings: ExportSettings,
    images: Compared,
    calibration_NIIC: NDArray[np.uint8] | None,
) -> tuple[dict[str, bytes], Manifest]:
    """Return the content of each file of one precision, compared, and their manifest."""
    graph, deployment = deploy(network, manifest, settings, calibration_NIIC)
    manifest = replace(manifest, deployment=deployment)
    images = replace(images, squares_BIIC=crop_centre(images.squares_BIIC, manifest.input_side_px))
    trained = with_views(PixelNetwork(network, manifest.input).eval(), manifest)

    def compare_file(name: str, model: Model) -> Parity:
        parity = compare(trained, model, images)
        require_parity(parity, name=name, precision=settings.precision)
        return parity

    def repeat(_: str, model: Model) -> bytes:
        batch = np.ascontiguousarray(images.squares_BIIC[:_NUM_REPEATED])
        return model.logits(batch).tobytes()

    parity = _common_answer(_contents(graph, network, manifest, settings), compare_file)
    manifest = replace(manifest, deployment=replace(deployment, parity=parity))
    contents = _contents(describe(graph, manifest), network, manifest, settings)
    _common_answer(contents, repeat)
    return contents, manifest


def compare(
    network: torch.nn.Module, model: Model, images: Compared, *, batch_size: int = 250
) -> Parity:
    """Run the same images through PyTorch (float32, CPU) and through the exported file.

    Args:
        network: The trained network in evaluation mode; takes uint8 images of the model's size.
        model: The exported file.
        images: Images of the model's size.
        batch_size: Images per run.
    """
    squares_BIIC, num_images = images.squares_BIIC, len(images.squares_BIIC)
    expected, found = [], []
    for start in range(0, num_images, batch_size):
        batch = np.ascontiguousarray(squares_BIIC[start : start + batch_size])
        with torch.inference_mode():
            expected.append(network(torch.from_numpy(batch)).numpy())
        found.append(model.logits(batch))
    expected_BK, found_BK = np.concatenate(expected), np.concatenate(found)
    best_two = np.sort(expected_BK, axis=1)[:, -2:]
    is_tie_B = best_two[:, -1] - best_two[:, 0] <= _TIE
    expected_B, found_B = expected_BK.argmax(axis=1), found_BK.argmax(axis=1)
    parity = Parity(
        num_images=num_images,
        max_logit_difference=float(np.abs(expected_BK - found_BK).max()),
        num_top1_different=int(((expected_B != found_B) & ~is_tie_B).sum()),
        images=images.name,
        processor=processor_kind(),
    )
    if images.labels_B is None:
        return parity
    return replace(
        parity,
        num_right=int((found_B == images.labels_B).sum()),
        num_right_trained=int((expected_B == images.labels_B).sum()),
    )


@dataclass(frozen=True)
class _Limits:
    logit_difference: float  # of any logit
    different: float  # fraction of the images with another top class
    lost: float  # fall of top-1 accuracy, 0–1


_LIMITS = {
    ExportPrecision.FP32: _Limits(MAX_LOGIT_DIFFERENCE, 0.0, 0.0),
    ExportPrecision.FP16: _Limits(float("inf"), 0.005, 0.003),
    ExportPrecision.INT8: _Limits(float("inf"), 0.03, 0.01),
}


def require_parity(
    parity: Parity, *, name: str, precision: ExportPrecision = ExportPrecision.FP32
) -> None:
    """Refuse a file that differs more than its precision explains.

    Raises:
        ExportError: It does; of few images, one may always have another top class.
    """
    limits, num_images = _LIMITS[precision], parity.num_images
    is_exact = precision is ExportPrecision.FP32
    num_lost = -(parity.top1_change or 0.0) * num_images
    num_free = 0 if is_exact else 1
    # Written so that a NaN fails.
    if (
        parity.max_logit_difference <= limits.logit_difference
        and parity.num_top1_different <= max(num_free, limits.different * num_images)
        # In float32 the logits decide: of two that tie, either may come first.
        and (is_exact or num_lost <= max(num_free, limits.lost * num_images))
    ):
        return
    change = parity.top1_change
    points = "" if change is None else f", top-1 by {100 * change:+.2f} points"
    raise ExportError(
        f"{name} ({precision}) differs from the trained network: logits by up to "
        f"{parity.max_logit_difference:.1e}, top class on {parity.num_top1_different} of "
        f"{parity.num_images} images{points}; nothing was written",
        hint="update the exporter with: pip install --upgrade onnx onnxscript onnxruntime"
        if is_exact
        else "keep float32 with: alexnet export --precision fp32",
    )


def _common_answer(contents: dict[str, bytes], run: Callable[[str, Model], _Answer]) -> _Answer:
    """Run each file, by name, as a user will, and return the result that all have in common.

    Raises:
        ExportError: They differ.
    """
    with temporary_folder() as folder:
        for name, content in contents.items():
            atomic_write(folder / name, content)
        answers = {run(name, load_model(folder / name, device="cpu")) for name in contents}
    if len(answers) != 1:
        raise ExportError(
            "the outputs of the exported files differ from each other; nothing was written",
            hint="write one of them alone: alexnet export --format onnx",
        )
    return answers.pop()


def _contents(
    graph: onnx.ModelProto, network: torch.nn.Module, manifest: Manifest, settings: ExportSettings
) -> dict[str, bytes]:
    """Return the content of each file."""
    contents = {}
    if settings.weights_name:
        contents[settings.weights_name] = _safetensors_bytes(network, graph, manifest)
    if settings.onnx_name:
        if settings.weights_name and settings.shared_weights:
            graph = _shared_graph(graph, settings.weights_name, contents[settings.weights_name])
        contents[settings.onnx_name] = graph.SerializeToString()
    return contents


def _safetensors_bytes(
    network: torch.nn.Module, graph: onnx.ModelProto, manifest: Manifest
) -> bytes:
    """Return a safetensors file that `predict` can run by itself.

    Its metadata hold the manifest and the ONNX graph without weights.
    """
    # Batch normalisation counts its batches in an integer that inference does not use.
    weights = {
        name: value.detach().contiguous()
        for name, value in network.state_dict().items()
        if value.is_floating_point()
    }
    bare_graph = _without_weights(graph, dict.fromkeys(weights, (0, 0)), location="weights")
    plain = safetensors.torch.save(weights)
    header = _header(plain)
    data = plain[8 + len(header) :]
    metadata = {
        "format": "pt",
        WEIGHTS_HASH_KEY: hashlib.sha256(data).hexdigest(),
        METADATA_KEY: manifest.to_json(),
        GRAPH_KEY: base64.b64encode(zlib.compress(bare_graph.SerializeToString(), 9)).decode(),
    }
    # Sorted: the order in safetensors' own header changes from one save to the next.
    header = json.dumps({**json.loads(header), "__metadata__": metadata}, sort_keys=True).encode()
    header += b" " * (-len(header) % 8)  # tensors stay aligned
    return struct.pack("<Q", len(header)) + header + data


def _header(safetensors_file: bytes) -> bytes:
    (length,) = struct.unpack("<Q", safetensors_file[:8])
    return safetensors_file[8 : 8 + length]


def _shared_graph(
    graph: onnx.ModelProto, weights_name: str, weights_file: bytes
) -> onnx.ModelProto:
    """Return a graph that reads its weights from the safetensors file in the same folder."""
    header = _header(weights_file)
    positions = {}
    for name, entry in json.loads(header).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            positions[name] = (8 + len(header) + begin, end - begin)
    shared = _without_weights(graph, positions, location=weights_name)
    digest = hashlib.sha256(header).hexdigest()
    shared.metadata_props.add(key=WEIGHTS_FILE_KEY, value=f"{weights_name} {digest}")
    return shared


def _without_weights(
    graph: onnx.ModelProto, positions: dict[str, tuple[int, int]], *, location: str
) -> onnx.ModelProto:
    """Return a copy of a graph whose named weights are read from a file.

    Args:
        graph: A graph with its weights inside.
        positions: Offset and length in bytes by initializer name.
        location: The file.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    for tensor in copy.graph.initializer:
        if tensor.name in positions:
            set_external_data(tensor, location, *positions[tensor.name])
            tensor.ClearField("raw_data")
    return copy
