"""The ONNX graph: uint8 images in, logits and probabilities out, preprocessing inside.

Shape letters: B batch, S side of a crop, K classes.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import onnx
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import Tensor, nn

from alexnet_cli.manifest import METADATA_KEY, Manifest

OPSET_VERSION = 20
IR_VERSION = 10  # ONNX Runtime 1.20 reads it; onnx's own default is newer than ours can load
_NETWORK_PREFIX = "pixels.network."


class _Deployed(nn.Module):
    """A network of pixels, with the probabilities beside the logits."""

    def __init__(self, pixels: nn.Module) -> None:
        super().__init__()
        self.pixels = pixels

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and probabilities, both (B, K), of uint8 images (B, S, S, 3)."""
        logits_BK = self.pixels(images)
        return logits_BK, logits_BK.softmax(dim=1)


def build_graph(pixel_network: nn.Module, manifest: Manifest) -> onnx.ModelProto:
    """Export a network, float32 on the CPU, with its weights inside.

    Initializers have the names of the network's state dict. One native `LRN` node per layer; no
    stack traces or paths of this machine in the file; the manifest in its metadata.

    Args:
        pixel_network: A `PixelNetwork` on the CPU in evaluation mode.
        manifest: Its description.
    """
    side = manifest.input.crop_size_px
    example = torch.zeros((2, side, side, 3), dtype=torch.uint8)
    with _silence():
        program = torch.onnx.export(
            _Deployed(pixel_network).eval(),
            (example,),
            dynamo=True,
            input_names=["images"],
            output_names=["logits", "probabilities"],
            dynamic_shapes=({0: "batch"},),
            opset_version=OPSET_VERSION,
            external_data=False,
            optimize=False,  # it drops biases that are all zero; a graph names every weight
            verify=False,  # `parity` does that, on real images
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    model = program.model
    ClearMetadataAndDocStringPass()(model)
    for value in list(model.graph.initializers.values()):
        if value.name and value.name.startswith(_NETWORK_PREFIX):
            value.name = value.name.removeprefix(_NETWORK_PREFIX)
    model.metadata_props.clear()
    model.metadata_props[METADATA_KEY] = manifest.to_json()
    model.ir_version = IR_VERSION
    model.producer_name = "alexnet-cli"
    proto = program.model_proto
    onnx.checker.check_model(proto, full_check=True)
    return proto


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
