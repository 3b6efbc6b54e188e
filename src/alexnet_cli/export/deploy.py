"""From a trained network to the graph of its files."""

from importlib import metadata

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from torch import nn

from alexnet_cli import __version__
from alexnet_cli.deployment import Deployment, Precision
from alexnet_cli.errors import UsageError
from alexnet_cli.export.lrn_forms import choose_form, with_form
from alexnet_cli.export.onnx_graph import build_graph
from alexnet_cli.export.settings import ExportSettings
from alexnet_cli.export.views import with_views
from alexnet_cli.manifest import Manifest
from alexnet_cli.models.normalise import PixelNetwork


def plan_deployment(core: nn.Module, settings: ExportSettings, num_calibration: int) -> Deployment:
    """Decide how a network is written.

    Args:
        core: The network.
        settings: What was asked for.
        num_calibration: Images at hand for int8.

    Raises:
        UsageError: int8 without images.
    """
    is_int8 = settings.precision is Precision.INT8
    if is_int8 and not num_calibration:
        raise UsageError(
            "--precision int8 needs training images to measure the activations on",
            hint="say where images are: alexnet export MODEL --precision int8 --data FOLDER",
        )
    is_half = settings.precision is Precision.FP16  # made for CUDA, whose LRN kernel is fast
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
    if deployment.precision is Precision.INT8:
        _widen_scaling(pixels, manifest.input.crop_size_px)
    graph = build_graph(with_views(pixels, manifest), manifest, opset=deployment.opset)
    if deployment.precision is Precision.FP16:
        from alexnet_cli.export.half import to_half

        return to_half(graph)
    if deployment.precision is Precision.INT8:
        from alexnet_cli.export.quantise import to_int8

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
