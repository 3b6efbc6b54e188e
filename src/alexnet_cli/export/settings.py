"""What an export is asked for."""

from dataclasses import dataclass
from enum import StrEnum

from alexnet_cli.errors import UsageError
from alexnet_cli.manifest import EXPORT_VIEW_COUNTS, ExportPrecision, LrnForm

OPSET_VERSION = 20
OPSET_VERSIONS = range(18, 22)  # from what PyTorch writes to what ONNX Runtime 1.20 reads


class Format(StrEnum):
    """File formats of an export."""

    ONNX = "onnx"
    SAFETENSORS = "safetensors"
    ALL = "all"


@dataclass(frozen=True)
class ExportSettings:
    """Files and their kind.

    Attributes:
        file_format: Which files.
        shared_weights: Whether `model.onnx` refers to `model.safetensors` for its weights; that
            file is then written too.
        precision: Number format of the graph.
        num_views: 10: the file makes the paper's ten views itself.
        opset: Version of the ONNX operators.
        lrn_form: How normalisation is computed; by default the native node in fp16, which is for
            CUDA, and the convolution otherwise, which is faster on the CPU.
    """

    file_format: Format = Format.ONNX
    shared_weights: bool = False
    precision: ExportPrecision = ExportPrecision.FP32
    num_views: int = 1
    opset: int = OPSET_VERSION
    lrn_form: LrnForm | None = None

    @property
    def writes_weights(self) -> bool:
        """Whether a safetensors file is written."""
        return self.file_format is not Format.ONNX or self.shared_weights

    @property
    def needs_calibration(self) -> bool:
        """Whether training images are needed."""
        return self.precision is ExportPrecision.INT8

    def check(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            UsageError: With what to ask for instead.
        """
        if self.file_format is Format.SAFETENSORS and self.shared_weights:
            raise UsageError("--shared-weights is for ONNX", hint="use --format onnx or all")
        if self.precision is not ExportPrecision.FP32 and self.writes_weights:
            raise UsageError(
                f"--precision {self.precision} is for a self-contained model.onnx: a safetensors "
                "file holds the trained float32 weights, which train --from goes on from",
                hint=f"use --precision {self.precision} --format onnx, and write the weights "
                "apart: alexnet export --format safetensors",
            )
        if self.num_views not in EXPORT_VIEW_COUNTS:
            raise UsageError(
                f"a file cannot make {self.num_views} views",
                hint="use --views 1 or 10; alexnet evaluate --views has more",
            )
        if self.opset not in OPSET_VERSIONS:
            first, last = OPSET_VERSIONS[0], OPSET_VERSIONS[-1]
            raise UsageError(
                f"--opset {self.opset} is not one of {first} to {last}",
                hint=f"leave it out; {OPSET_VERSION} is what everything is tested with",
            )
        if self.lrn_form is LrnForm.NONE:
            raise UsageError(
                "normalisation cannot be left out of a trained network",
                hint="use --lrn-form native or convolution",
            )
