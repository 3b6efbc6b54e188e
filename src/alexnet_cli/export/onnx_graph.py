"""The ONNX graph: uint8 images in, logits and probabilities out, preprocessing inside.

Shape letters: B batch, S side of a crop, K classes.
"""

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator

import onnx
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import Tensor, nn

from alexnet_cli.errors import ExportError
from alexnet_cli.export.settings import OPSET_VERSION
from alexnet_cli.manifest import METADATA_KEY, Manifest

IR_VERSION = 10  # ONNX Runtime 1.20 reads it; onnx's own default is newer than ours can load
_NETWORK_PREFIX = re.compile(r"^(pixels\.)+network\.")


class _Deployed(nn.Module):
    """A network of pixels, with the probabilities beside the logits."""

    def __init__(self, pixels: nn.Module) -> None:
        super().__init__()
        self.pixels = pixels

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and probabilities, both (B, K), of uint8 images (B, S, S, 3)."""
        logits_BK = self.pixels(images)
        return logits_BK, logits_BK.softmax(dim=1)


def build_graph(
    network: nn.Module, manifest: Manifest, *, opset: int = OPSET_VERSION
) -> onnx.ModelProto:
    """Export a network, float32 on the CPU, with its weights inside.

    Initializers have the names of the network's state dict; no stack traces or paths of this
    machine are in the file, the manifest is in its metadata.

    Args:
        network: A `PixelNetwork`, or `TenViews` of one, on the CPU in evaluation mode.
        manifest: Its description.
        opset: Version of the ONNX operators.

    Raises:
        ExportError: This network cannot be written in that version.
    """
    side = manifest.input_side_px
    example = torch.zeros((2, side, side, 3), dtype=torch.uint8)
    with _silence():
        program = torch.onnx.export(
            _Deployed(network).eval(),
            (example,),
            dynamo=True,
            input_names=["images"],
            output_names=["logits", "probabilities"],
            dynamic_shapes=({0: "batch"},),
            opset_version=opset,
            external_data=False,
            optimize=False,  # it drops biases that are all zero; a graph names every weight
            verify=False,  # `parity` does that, on real images
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    model = program.model
    ClearMetadataAndDocStringPass()(model)
    for value in list(model.graph.initializers.values()):
        if value.name:
            value.name = _NETWORK_PREFIX.sub("", value.name)
    model.metadata_props.clear()
    model.ir_version = IR_VERSION
    model.producer_name = "alexnet-cli"
    if model.opset_imports[""] != opset:
        raise ExportError(
            f"{manifest.network.name} cannot be written with ONNX opset {opset}",
            hint=f"leave --opset out; {OPSET_VERSION} is what it is tested with",
        )
    return describe(program.model_proto, manifest)


def describe(graph: onnx.ModelProto, manifest: Manifest) -> onnx.ModelProto:
    """Put a manifest into a graph, in place of an earlier one, and check the graph."""
    del graph.metadata_props[:]
    entry = graph.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, manifest.to_json()
    onnx.checker.check_model(graph, full_check=True)
    return graph


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter's notes to developers of PyTorch from the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
