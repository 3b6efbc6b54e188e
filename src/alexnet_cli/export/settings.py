"""Settings of an export, and the images to compare it on."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

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
    """The files to write, and their form."""

    file_format: Format = Format.ONNX
    shared_weights: bool = False  # `model.onnx` reads its weights from `model.safetensors`
    precision: ExportPrecision = ExportPrecision.FP32
    num_views: int = 1  # 10: the file itself makes the paper's ten views
    opset: int = OPSET_VERSION
    lrn_form: LrnForm | None = None  # by default the one that is fast where the file will run

    @property
    def writes_weights(self) -> bool:
        """True if a safetensors file is written."""
        return self.file_format is not Format.ONNX or self.shared_weights

    @property
    def needs_calibration(self) -> bool:
        """True if training images are needed."""
        return self.precision is ExportPrecision.INT8

    def check(self) -> None:
        """Raise a UsageError if the settings contradict each other."""
        if self.file_format is Format.SAFETENSORS and self.shared_weights:
            raise UsageError("--shared-weights is for ONNX", hint="use --format onnx or all")
        if self.precision is not ExportPrecision.FP32 and self.writes_weights:
            raise UsageError(
                f"--precision {self.precision} is for a self-contained model.onnx: a safetensors "
                "file holds the trained float32 weights, from which train --from starts",
                hint=f"use --precision {self.precision} --format onnx, and write the weights "
                "separately: alexnet export --format safetensors",
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
                hint=f"leave it out; {OPSET_VERSION} is the version that is tested",
            )
        if self.lrn_form is LrnForm.NONE:
            raise UsageError(
                "normalisation cannot be left out of a trained network",
                hint="use --lrn-form native or convolution",
            )


@dataclass(frozen=True)
class Compared:
    """Images on which a file is compared, none of which it was made from."""

    squares_BIIC: NDArray[np.uint8]  # (B, I, I, 3), or crops where no more is needed
    labels_B: NDArray[np.int64] | None = None  # none if the classes are not the model's
    name: str = "images"  # for people
