"""From a trained network to its ONNX graph: uint8 images in, logits and probabilities out.

`deploy` wraps the network with its preprocessing, chooses the form of local response normalisation
(ONNX Runtime's CPU kernel of the operator `LRN` takes up to a third of the network's time; a
convolution uses the matrix product), adds the paper's ten views if asked, and writes the graph.

Shape letters: N or B batch, C channels, H height, W width, I side of an image, S side of a crop,
V views, K classes.
"""

import contextlib
import copy
import io
import logging
import math
import re
import warnings
from collections.abc import Iterator
from importlib import metadata

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import Tensor, nn

from alexnet_cli import __version__
from alexnet_cli.errors import ExportError, UsageError
from alexnet_cli.export.settings import OPSET_VERSION, ExportSettings
from alexnet_cli.manifest import METADATA_KEY, Deployment, ExportPrecision, LrnForm, Manifest
from alexnet_cli.models.layers import PixelNetwork
from alexnet_cli.models.lrn import LocalResponseNorm

_THREE_QUARTERS = 0.75  # the paper's β, for which two square roots replace a power
_NUM_VIEWS = 10
IR_VERSION = 10  # ONNX Runtime 1.20 reads it; onnx's own default is newer than ours can load
_NETWORK_PREFIX = re.compile(r"^(pixels\.)+network\.")


def plan_deployment(core: nn.Module, settings: ExportSettings, num_calibration: int) -> Deployment:
    """Decide how a network is written.

    Args:
        core: The network.
        settings: What was asked for.
        num_calibration: Images at hand for int8.

    Raises:
        UsageError: int8 without images.
    """
    is_int8 = settings.precision is ExportPrecision.INT8
    if is_int8 and not num_calibration:
        raise UsageError(
            "--precision int8 needs training images to measure the activations on",
            hint="say where images are: alexnet export MODEL --precision int8 --data FOLDER",
        )
    is_half = settings.precision is ExportPrecision.FP16  # made for CUDA, whose LRN kernel is fast
    return Deployment(
        precision=settings.precision,
        num_views=settings.num_views,
        opset=settings.opset,
        lrn_form=choose_form(core, settings.lrn_form, native=is_half),
        versions={
            "alexnet-cli": __version__,
            "onnxruntime": onnxruntime.__version__,  # its distribution has one of several names
            **{name: metadata.version(name) for name in ("torch", "onnx", "onnxscript")},
        },
        num_calibration_images=num_calibration if is_int8 else 0,
    )


def deploy(
    core: nn.Module,
    manifest: Manifest,
    deployment: Deployment,
    calibration_NIIC: NDArray[np.uint8],
) -> onnx.ModelProto:
    """Build the graph that every file of an export has.

    Args:
        core: The network, without input scaling, float32 on the CPU in evaluation mode.
        manifest: Its description, `deployment` in it.
        deployment: How it is written.
        calibration_NIIC: uint8 training images as the graph takes them; not empty for int8.
    """
    pixels = PixelNetwork(with_form(core, deployment.lrn_form), manifest.input).eval()
    if deployment.precision is ExportPrecision.INT8:
        _widen_scaling(pixels, manifest.input.crop_size_px)
    graph = build_graph(with_views(pixels, manifest), manifest, opset=deployment.opset)
    if deployment.precision is ExportPrecision.FP16:
        from alexnet_cli.export.precision import to_half

        return to_half(graph)
    if deployment.precision is ExportPrecision.INT8:
        from alexnet_cli.export.precision import to_int8

        return to_int8(graph, calibration_NIIC)
    return graph


def _widen_scaling(pixels: PixelNetwork, side_px: int) -> None:
    """Give the input scaling a factor for each pixel, not each channel.

    Before an int8 convolution ONNX Runtime works channels-last, where broadcasting three numbers
    over each pixel takes as long as the convolution.
    """
    for name in ("scale_C11", "shift_C11"):
        wide = getattr(pixels, name).expand(3, side_px, side_px).contiguous()
        setattr(pixels, name, wide)


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


class _Deployed(nn.Module):
    """A network of pixels, with the probabilities beside the logits."""

    def __init__(self, pixels: nn.Module) -> None:
        super().__init__()
        self.pixels = pixels

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and probabilities, both (B, K), of uint8 images (B, S, S, 3)."""
        logits_BK = self.pixels(images)
        return logits_BK, logits_BK.softmax(dim=1)


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


def with_views(pixels: nn.Module, manifest: Manifest) -> nn.Module:
    """Return what takes the images that the manifest says: crops, or squares it cuts views of."""
    if manifest.num_views == 1:
        return pixels
    return TenViews(pixels, manifest.input.crop_size_px)


class TenViews(nn.Module):
    """Five crops of a square and their mirror images, whose probabilities are averaged.

    Its logits are the logarithms of the averages: they are finite, and their softmax gives the
    averages back, so that whoever takes logits need not know of the views.

    Source: paper §4.1, as `evaluate --views 10`.

    Args:
        pixels: Takes uint8 crops (B, S, S, 3).
        crop_size_px: S.
    """

    def __init__(self, pixels: nn.Module, crop_size_px: int) -> None:
        super().__init__()
        self.pixels, self.crop_size_px = pixels, crop_size_px

    def forward(self, squares_BIIC: Tensor) -> Tensor:
        """Return log probabilities (B, K) of uint8 squares (B, I, I, 3)."""
        side = self.crop_size_px
        free = squares_BIIC.shape[1] - side
        corners = [(top, left) for top in (0, free) for left in (0, free)]
        crops = [
            squares_BIIC[:, top : top + side, left : left + side]
            for top, left in [(free // 2, free // 2), *corners]
        ]
        upright = torch.cat(crops)
        logits = self.pixels(torch.cat([upright, upright.flip(2)]))
        log_probabilities_VBK = logits.reshape(_NUM_VIEWS, -1, logits.shape[1]).log_softmax(dim=2)
        return torch.logsumexp(log_probabilities_VBK, dim=0) - math.log(_NUM_VIEWS)


def choose_form(network: nn.Module, asked: LrnForm | None, *, native: bool) -> LrnForm:
    """Return how a network's normalisation will be computed.

    Args:
        network: Any network.
        asked: What the user chose, if anything.
        native: Whether the native node is the better choice where the user made none.
    """
    if not any(isinstance(module, LocalResponseNorm) for module in network.modules()):
        return LrnForm.NONE
    return asked or (LrnForm.NATIVE if native else LrnForm.CONVOLUTION)


def with_form(network: nn.Module, form: LrnForm) -> nn.Module:
    """Return the network with its normalisation layers in a form; the weights are shared.

    Args:
        network: Any network; what is no `LocalResponseNorm` stays as it is.
        form: `NATIVE` changes nothing: `LocalResponseNorm` exports itself as one node.
    """
    if form is not LrnForm.CONVOLUTION:
        return network
    tensors = [*network.parameters(), *network.buffers()]
    changed = copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})
    for parent in list(changed.modules()):
        for name, child in parent.named_children():
            if isinstance(child, LocalResponseNorm):
                setattr(parent, name, WindowConvolution(child))
    return changed


class WindowConvolution(nn.Module):
    """`y = x / t^β`, where `t = k + α/n · Σ x²` is a 1×1 convolution of x² with a band matrix.

    It is written channels-last, as a product of (N·H·W, C) with (C, C): that is the layout of
    ONNX Runtime's int8 convolutions, between which nothing then has to be transposed. For β = 3/4
    the divisor is √t · √√t, two roots in place of a power. The band is computed in the graph from
    the channels' numbers, so that the file does not hold it; ONNX Runtime folds it when it loads.

    Args:
        norm: The layer with the constants.

    Source: paper §3.3 for the formula.
    """

    def __init__(self, norm: LocalResponseNorm) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = norm.size, norm.alpha, norm.beta, norm.k

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Normalise (N, C, H, W) to the same shape."""
        channel = torch.arange(x_NCHW.shape[1], dtype=torch.float32)
        is_neighbour = (channel[:, None] - channel[None, :]).abs() <= self.size // 2
        band_CC = is_neighbour.float() * (self.alpha / self.size)
        x_NHWC = x_NCHW.permute(0, 2, 3, 1)
        t = torch.matmul(x_NHWC * x_NHWC, band_CC) + self.k
        if self.beta == _THREE_QUARTERS:
            root = t.sqrt()
            y_NHWC = x_NHWC / (root * root.sqrt())
        else:
            y_NHWC = x_NHWC / t.pow(self.beta)
        return y_NHWC.permute(0, 3, 1, 2)
