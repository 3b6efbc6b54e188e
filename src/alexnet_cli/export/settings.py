"""Settings of an export, and the images to compare it on."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.errors import UsageError
from alexnet_cli.manifest import EXPORT_VIEW_COUNTS, SAFETENSORS, ExportPrecision, LrnForm
from alexnet_cli.run_folder import SHARED_ONNX, export_name

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
    shared_weights: bool = False  # the ONNX file reads its weights from the safetensors file
    precision: ExportPrecision = ExportPrecision.FP32
    num_views: int = 1  # 10: the file itself makes the paper's ten views
    opset: int = OPSET_VERSION
    lrn_form: LrnForm | None = None  # by default the one that is fast where the file will run
    force: bool = False  # replace existing files of other content

    @property
    def weights_name(self) -> str | None:
        """Name of the safetensors file, always float32; None if none is written."""
        if self.file_format is Format.ONNX and not self.shared_weights:
            return None
        return export_name(SAFETENSORS, num_views=self.num_views)

    @property
    def onnx_name(self) -> str | None:
        """Name of the ONNX file; None if none is written."""
        if self.file_format is Format.SAFETENSORS:
            return None
        if self.shared_weights:
            return export_name(SHARED_ONNX, num_views=self.num_views)
        return export_name(precision=self.precision, num_views=self.num_views)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the files, in the order in which they are written."""
        return tuple(name for name in (self.weights_name, self.onnx_name) if name)

    @property
    def by_precision(self) -> "list[Self]":
        """The settings of each graph: the safetensors file of an int8 export is float32."""
        if self.file_format is not Format.ALL or self.precision is ExportPrecision.FP32:
            return [self]
        weights = replace(self, file_format=Format.SAFETENSORS, precision=ExportPrecision.FP32)
        return [weights, replace(self, file_format=Format.ONNX)]

    @property
    def needs_calibration(self) -> bool:
        """True if training images are needed."""
        return self.precision is ExportPrecision.INT8

    def check(self) -> None:
        """Raise a UsageError if the settings contradict each other."""
        if self.file_format is Format.SAFETENSORS and self.shared_weights:
            raise UsageError("--shared-weights is for ONNX", hint="use --format onnx or all")
        is_shared_or_safetensors = self.shared_weights or self.file_format is Format.SAFETENSORS
        if self.precision is not ExportPrecision.FP32 and is_shared_or_safetensors:
            raise UsageError(
                f"--precision {self.precision} is for a self-contained ONNX file: a safetensors "
                "file holds the trained float32 weights",
                hint=f"use --precision {self.precision} --format onnx; with --format all the "
                "float32 weights are written as well",
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
