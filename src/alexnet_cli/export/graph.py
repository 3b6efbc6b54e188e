"""From a trained network to its ONNX graph: uint8 images in, logits and probabilities out.

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
from dataclasses import replace
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
from alexnet_cli.image import crop_centre
from alexnet_cli.manifest import METADATA_KEY, Deployment, ExportPrecision, LrnForm, Manifest
from alexnet_cli.models.build import PixelNetwork
from alexnet_cli.models.lrn import LocalResponseNorm

_IR_VERSION = 10  # ONNX Runtime 1.20 reads it; onnx's own default is newer
_NETWORK_PREFIX = re.compile(r"^(pixels\.)+network\.")
_NUM_VIEWS = 10


def deploy(
    network: nn.Module,
    manifest: Manifest,
    settings: ExportSettings,
    calibration_NIIC: NDArray[np.uint8] | None = None,
) -> tuple[onnx.ModelProto, Deployment]:
    """Build the graph that every file of an export has.

    `network` has no input scaling; it is float32, on the CPU, in evaluation mode. int8 needs
    `calibration_NIIC`, uint8 squares of training images.

    Returns:
        The graph with its manifest inside, and its description in the manifest.

    Raises:
        UsageError: int8 without images.
        ExportError: This network cannot be written in that version of the ONNX operators.
    """
    is_int8 = settings.precision is ExportPrecision.INT8
    if calibration_NIIC is None or not is_int8:
        calibration_NIIC = np.empty((0, 0, 0, 3), np.uint8)
    if is_int8 and not len(calibration_NIIC):
        raise UsageError(
            "--precision int8 needs training images to measure the activations on",
            hint="name a folder of images: alexnet export MODEL --precision int8 --data FOLDER",
        )
    deployment = Deployment(
        precision=settings.precision,
        num_views=settings.num_views,
        opset=settings.opset,
        lrn_form=_choose_lrn_form(network, settings),
        versions={
            "alexnet-cli": __version__,
            "onnxruntime": onnxruntime.__version__,  # its distribution has one of several names
            **{name: metadata.version(name) for name in ("torch", "onnx", "onnxscript")},
        },
        num_calibration_images=len(calibration_NIIC),
    )
    manifest = replace(manifest, deployment=deployment)
    pixels = PixelNetwork(_with_lrn_form(network, deployment.lrn_form), manifest.input).eval()
    if is_int8:
        _widen_scaling(pixels, manifest.input.crop_size_px)
    with _quiet_libraries():
        graph = _build_graph(with_views(pixels, manifest), manifest, opset=settings.opset)
        if settings.precision is ExportPrecision.FP32:
            return graph, deployment
        from alexnet_cli.export.precision import to_half, to_int8

        if is_int8:
            side_px = manifest.input_side_px
            return to_int8(graph, crop_centre(calibration_NIIC, side_px)), deployment
        return to_half(graph), deployment


def _choose_lrn_form(network: nn.Module, settings: ExportSettings) -> LrnForm:
    if not any(isinstance(module, LocalResponseNorm) for module in network.modules()):
        return LrnForm.NONE
    # The LRN kernel of CUDA, which fp16 is for, is fast. That of the CPU takes up to a third of
    # the network's time; a convolution uses the matrix product.
    is_half = settings.precision is ExportPrecision.FP16
    if is_half and settings.lrn_form is LrnForm.CONVOLUTION:
        raise UsageError(
            "--precision fp16 has no --lrn-form convolution",
            hint="leave --lrn-form out, or choose --lrn-form native",
        )
    return settings.lrn_form or (LrnForm.NATIVE if is_half else LrnForm.CONVOLUTION)


def _with_lrn_form(network: nn.Module, form: LrnForm) -> nn.Module:
    """Return a network with its normalisation layers in a form; the weights are shared."""
    if form is not LrnForm.CONVOLUTION:
        return network  # `LocalResponseNorm` exports itself as one node
    tensors = [*network.parameters(), *network.buffers()]
    changed = copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})
    for parent in list(changed.modules()):
        for name, child in parent.named_children():
            if isinstance(child, LocalResponseNorm):
                setattr(parent, name, WindowConvolution(child))
    return changed


def _widen_scaling(pixels: PixelNetwork, side_px: int) -> None:
    """Give the input scaling a factor for each pixel, not each channel.

    Before an int8 convolution ONNX Runtime works channels-last, where broadcasting three numbers
    over each pixel takes as long as the convolution.
    """
    for name in ("scale_C11", "shift_C11"):
        wide = getattr(pixels, name).expand(3, side_px, side_px).contiguous()
        setattr(pixels, name, wide)


def _build_graph(network: nn.Module, manifest: Manifest, *, opset: int) -> onnx.ModelProto:
    """Return the graph of a network of pixels, with its weights and its manifest inside.

    Initializers have the names of the network's state dict; no stack traces or paths of this
    machine are in the graph.
    """
    side = manifest.input_side_px
    program = torch.onnx.export(
        _WithProbabilities(network).eval(),
        (torch.zeros((2, side, side, 3), dtype=torch.uint8),),
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
    model.ir_version = _IR_VERSION
    model.producer_name = "alexnet-cli"
    if model.opset_imports[""] != opset:
        raise ExportError(
            f"{manifest.network.name} cannot be written with ONNX opset {opset}",
            hint=f"leave --opset out; {OPSET_VERSION} is the version that is tested",
        )
    return describe(program.model_proto, manifest)


def describe(graph: onnx.ModelProto, manifest: Manifest) -> onnx.ModelProto:
    """Put a manifest into a graph, in place of an earlier one, and check the graph."""
    del graph.metadata_props[:]
    graph.metadata_props.add(key=METADATA_KEY, value=manifest.to_json())
    onnx.checker.check_model(graph, full_check=True)
    return graph


@contextlib.contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Silence what the exporter and the quantiser print for their developers."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def with_views(pixels: nn.Module, manifest: Manifest) -> nn.Module:
    """Return a network of crops as one of the images that the manifest names: crops or squares."""
    return pixels if manifest.num_views == 1 else _TenViews(pixels, manifest.input.crop_size_px)


class _WithProbabilities(nn.Module):
    """A network with two outputs: the logits and their softmax."""

    def __init__(self, pixels: nn.Module) -> None:
        super().__init__()
        self.pixels = pixels

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits_BK = self.pixels(images)
        return logits_BK, logits_BK.softmax(dim=1)


class _TenViews(nn.Module):
    """Five crops of a square and their mirror images, whose probabilities are averaged.

    Its logits are the logarithms of the averages: finite, and their softmax gives the averages
    back, so that whoever reads logits need not know of the views.

    Source: paper §4.1, as `evaluate --views 10`.
    """

    def __init__(self, pixels: nn.Module, crop_size_px: int) -> None:
        super().__init__()
        self.pixels, self.crop_size_px = pixels, crop_size_px

    def forward(self, squares_BIIC: Tensor) -> Tensor:
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


class WindowConvolution(nn.Module):
    """`y = x / t^β`, where `t = k + α/n · Σ x²` is a 1×1 convolution of x² with a band matrix.

    It is written channels-last, as a product of (N·H·W, C) with (C, C): that is the layout of
    ONNX Runtime's int8 convolutions, between which nothing then has to be transposed. The band is
    computed in the graph from the channels' numbers, so that the file does not hold it; ONNX
    Runtime folds it when it loads.

    Source: paper §3.3 for the formula.
    """

    def __init__(self, norm: LocalResponseNorm) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = norm.size, norm.alpha, norm.beta, norm.k

    def forward(self, x_NCHW: Tensor) -> Tensor:
        channel = torch.arange(x_NCHW.shape[1], dtype=torch.float32)
        is_neighbour = (channel[:, None] - channel[None, :]).abs() <= self.size // 2
        band_CC = is_neighbour.float() * (self.alpha / self.size)
        x_NHWC = x_NCHW.permute(0, 2, 3, 1)
        t = torch.matmul(x_NHWC * x_NHWC, band_CC) + self.k
        if self.beta == 0.75:  # as in the paper: two roots are faster than a power
            root = t.sqrt()
            y_NHWC = x_NHWC / (root * root.sqrt())
        else:
            y_NHWC = x_NHWC / t.pow(self.beta)
        return y_NHWC.permute(0, 3, 1, 2)
