"""How a network was written into a file: number format, views, operators, and how it compares."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from alexnet_cli.json_values import integer, number, text, texts_by_name

VIEW_COUNTS = (1, 10)


class Precision(StrEnum):
    """Number formats of an exported graph."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class LrnForm(StrEnum):
    """How a graph computes local response normalisation.

    `native` is one `LRN` node, `convolution` a 1×1 convolution of x² with a band matrix; `none`:
    the network has no such layer.
    """

    NATIVE = "native"
    CONVOLUTION = "convolution"
    NONE = "none"


@dataclass(frozen=True)
class Parity:
    """How far an exported file is from the trained network, on the same images.

    Attributes:
        num_images: Images compared.
        images: What they are, in words.
        max_logit_difference: Largest absolute difference of a logit.
        num_top1_different: Images with another top class, near ties left out.
        num_right: Images that the file classifies right; none where the classes are not known.
        num_right_trained: Images that the trained network classifies right.
        processor: Kind of processor on which they were compared, as `processor_kind` names it.
    """

    num_images: int
    max_logit_difference: float
    num_top1_different: int
    images: str = "images"
    num_right: int | None = None
    num_right_trained: int | None = None
    processor: str = ""

    @property
    def agreement(self) -> float:
        """Share of the images with the same top class, 0–1."""
        return 1 - self.num_top1_different / self.num_images

    @property
    def top1_change(self) -> float | None:
        """Top-1 of the file less that of the trained network, −1 to 1."""
        if self.num_right is None or self.num_right_trained is None:
            return None
        return (self.num_right - self.num_right_trained) / self.num_images


@dataclass(frozen=True)
class Deployment:
    """What an export decided.

    Attributes:
        precision: Number format of weights and activations.
        num_views: 1: the file takes centre crops. 10: it takes whole squares, and averages the
            probabilities of the paper's five crops and their mirror images; its logits are the
            logarithms of those averages, so that their softmax is the probabilities as ever.
        opset: Version of the ONNX operators.
        lrn_form: How local response normalisation is computed.
        versions: Versions of alexnet and of the libraries that wrote and compared the file.
        num_calibration_images: Training images from which int8 took its ranges; else 0.
        parity: How the file compares with the trained network; none before it was compared.
    """

    precision: Precision
    num_views: int
    opset: int
    lrn_form: LrnForm
    versions: dict[str, str]
    num_calibration_images: int = 0
    parity: Parity | None = None


def parse_deployment(raw: Any) -> Deployment | None:
    """Read the part of a manifest; none for a network that was not exported.

    Raises:
        ValueError: A value is impossible; as TypeError and KeyError, for the manifest to report.
    """
    if raw is None:
        return None
    deployment = Deployment(
        precision=Precision(raw["precision"]),
        num_views=integer(raw["num_views"]),
        opset=integer(raw["opset"]),
        lrn_form=LrnForm(raw["lrn_form"]),
        versions=texts_by_name(raw["versions"]),
        num_calibration_images=integer(raw["num_calibration_images"]),
        parity=_parity(raw["parity"]),
    )
    if deployment.num_views not in VIEW_COUNTS:
        raise ValueError(f"{deployment.num_views} views")
    return deployment


def _parity(raw: Any) -> Parity | None:
    if raw is None:
        return None
    right, trained = raw["num_right"], raw["num_right_trained"]
    parity = Parity(
        num_images=integer(raw["num_images"]),
        max_logit_difference=number(raw["max_logit_difference"]),
        num_top1_different=integer(raw["num_top1_different"]),
        images=text(raw["images"]),
        num_right=None if right is None else integer(right),
        num_right_trained=None if trained is None else integer(trained),
        processor=text(raw["processor"]),
    )
    if parity.num_images < 1:
        raise ValueError("compared on no image")
    return parity
