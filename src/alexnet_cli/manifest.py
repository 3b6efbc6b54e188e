"""Values of a JSON document, each of the type it should have; anything else is a TypeError.

How a network was written into a file: number format, views, operators, and how it compares.

What a trained model needs in order to be run, as JSON inside every exported file.

The manifest is the only source `predict` has for classes, sizes and preprocessing; nothing is
guessed. Plain dataclasses, because `predict` starts faster without pydantic.

Are the weights those that were exported?
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from alexnet_cli.errors import ModelFileError
from alexnet_cli.networks import Activation, Kernels, Network, NetworkSpec, Pool


def integer(value: Any) -> int:
    """Return an integer; true and false are none."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not an integer")
    return value


def truth(value: Any) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is not true or false")
    return value


def number(value: Any) -> float:
    """Return a finite number of reasonable size."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e12:
        raise TypeError(f"{value!r} is not a finite number")
    return float(value)


def text(value: Any) -> str:
    """Return text that can be written again."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    value.encode()  # half a surrogate pair is a ValueError here, not later at the printer
    return value


def texts(value: Any) -> tuple[str, ...]:
    """Return a list of texts."""
    if not isinstance(value, list):
        raise TypeError("it is not a list")
    return tuple(text(each) for each in value)


def texts_by_name(value: Any) -> dict[str, str]:
    """Return an object whose values are texts."""
    return {text(key): text(each) for key, each in value.items()}


def three_numbers(value: Any) -> tuple[float, float, float]:
    """Return a number for each of red, green and blue."""
    red, green, blue = (number(channel) for channel in value)
    return red, green, blue


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


SCHEMA_VERSION = 6
_EARLIER_EXPORTS = 5  # int8 had weights of 8 bits; checkpoints and weights are still read
_READ = (SCHEMA_VERSION, _EARLIER_EXPORTS)
NAMED_DATA = ("cifar10", "cifar100", "cifar10.1", "shapes")  # any other dataset is a folder
METADATA_KEY = "alexnet.manifest"
WEIGHTS_HASH_KEY = "alexnet.sha256"
"""Metadata of a safetensors export: SHA-256 of the tensors, so that the header identifies them."""


@dataclass(frozen=True)
class InputSpec:
    """From an image to the network's input: resize, crop, then `pixel · scale + shift`.

    Attributes:
        image_size_px: The shorter side is resized to this length.
        crop_size_px: Side of the centre crop that the network sees.
        scale: Factor per RGB channel for pixels 0–255.
        shift: Offset per RGB channel, added after scaling.
    """

    image_size_px: int
    crop_size_px: int
    scale: tuple[float, float, float]
    shift: tuple[float, float, float]


@dataclass(frozen=True)
class Provenance:
    """Where the weights come from; for people and for `evaluate`, not needed to predict.

    Attributes:
        data: Name of the dataset, or absolute path of its folder.
        seed: Seed of the run, which also fixes the train/validation split.
        val_size: Images held out of the training set.
        epoch: Epoch of the weights, counted from 1.
        val_top1: Validation accuracy of these weights, 0–1, single centre view.
        config_sha256: Hash of the training configuration.
        versions: Versions of alexnet and of the libraries that trained it.
        init: Initial weights that training started from.
        momentum_kind: Kind of momentum it was trained with.
        images: Which images were trained on and which held out; "" where that is not known.
    """

    data: str
    seed: int
    val_size: int
    epoch: int
    val_top1: float
    config_sha256: str
    versions: dict[str, str]
    init: str = "he"
    momentum_kind: str = "classical"
    images: str = ""


@dataclass(frozen=True)
class Manifest:
    """A model's description. `to_json` and `manifest_from_json` are inverse to each other.

    `deployment` is there in exported files only.
    """

    network: NetworkSpec
    input: InputSpec
    classes: tuple[str, ...]
    provenance: Provenance
    deployment: Deployment | None = None
    schema: int = SCHEMA_VERSION

    @property
    def num_views(self) -> int:
        """Views that the file makes of an image and averages by itself."""
        return self.deployment.num_views if self.deployment else 1

    @property
    def input_side_px(self) -> int:
        """Side of the squares that the model takes: the crop, or the image it makes views of."""
        return self.input.crop_size_px if self.num_views == 1 else self.input.image_size_px

    def to_json(self) -> str:
        """Return the manifest as one line of JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, ensure_ascii=False)


def data_name(value: str) -> str:
    """Return what runs and manifests call a dataset.

    Args:
        value: What a user calls it: a name or a folder.

    Returns:
        The absolute path of a folder that exists; anything else as it is.
    """
    if value in ("", *NAMED_DATA) or not Path(value).is_dir():
        return value
    return str(Path(value).resolve())


def manifest_from_json(document: str, *, source: str) -> Manifest:
    """Read and check a manifest.

    Args:
        document: The JSON text.
        source: The file it came from, for messages.

    Raises:
        ModelFileError: The text is not a manifest of this schema, or contradicts itself.
    """
    try:
        manifest = _parse(json.loads(document))
        _check(manifest)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = f"missing {error}" if isinstance(error, KeyError) else str(error)
        raise ModelFileError(
            f"{source} has no valid alexnet manifest ({reason})",
            hint="export it again with: alexnet export --format onnx",
            code="manifest_invalid",
        ) from error
    return manifest


def _parse(raw: Any) -> Manifest:
    if not isinstance(raw, dict):
        raise TypeError("it is not a JSON object")
    schema = raw["schema"]
    if schema not in _READ or isinstance(schema, bool | float):
        raise ValueError(f"schema {schema!r}, this version reads {_READ[-1]} to {_READ[0]}")
    network, image, origin = raw["network"], raw["input"], raw["provenance"]
    return Manifest(
        network=NetworkSpec(
            name=Network(network["name"]),
            num_classes=integer(network["num_classes"]),
            crop_size_px=integer(network["crop_size_px"]),
            dropout=number(network["dropout"]),
            activation=Activation(network["activation"]),
            lrn=truth(network["lrn"]),
            pool=Pool(network["pool"]),
            groups=integer(network["groups"]),
            kernels=Kernels(network["kernels"]),
        ),
        input=InputSpec(
            image_size_px=integer(image["image_size_px"]),
            crop_size_px=integer(image["crop_size_px"]),
            scale=three_numbers(image["scale"]),
            shift=three_numbers(image["shift"]),
        ),
        classes=texts(raw["classes"]),
        deployment=parse_deployment(raw["deployment"]) if schema == SCHEMA_VERSION else None,
        provenance=Provenance(
            data=text(origin["data"]),
            seed=integer(origin["seed"]),
            val_size=integer(origin["val_size"]),
            epoch=integer(origin["epoch"]),
            val_top1=number(origin["val_top1"]),
            init=text(origin["init"]),
            momentum_kind=text(origin["momentum_kind"]),
            images=text(origin["images"]),
            config_sha256=text(origin["config_sha256"]),
            versions=texts_by_name(origin["versions"]),
        ),
    )


def _check(manifest: Manifest) -> None:
    network, image = manifest.network, manifest.input
    if not 1 <= network.num_classes == len(manifest.classes):
        raise ValueError(f"{network.num_classes} outputs for {len(manifest.classes)} classes")
    if network.groups not in (1, 2):
        raise ValueError(f"{network.groups} groups")
    if network.crop_size_px != image.crop_size_px:
        raise ValueError("network and input disagree on the crop size")
    if manifest.provenance.seed < 0 or manifest.provenance.val_size < 1:
        raise ValueError("impossible provenance")
    if not 1 <= image.crop_size_px <= image.image_size_px <= 4096:
        raise ValueError(f"crop {image.crop_size_px} of image size {image.image_size_px}")


_MAX_HASHED_HEADER_BYTES = 16 << 20
_CHUNK_BYTES = 1 << 20


def verify_weights_hash(path: Path, on_bytes: Callable[[int], object] = lambda _: None) -> bool:
    """Compare the tensors of a safetensors export with the hash in its header.

    Reads the whole file: 0.12 s for the 228 MB of `alexnet`, half as long as its first answer takes
    from the start of Python.

    Args:
        path: The file.
        on_bytes: Called with the number of bytes after each chunk, for a progress bar.

    Returns:
        False where they differ, and where there is no such header.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= _MAX_HASHED_HEADER_BYTES:
            return False
        try:
            expected = json.loads(file.read(length))["__metadata__"][WEIGHTS_HASH_KEY]
        except (ValueError, KeyError, TypeError, RecursionError):
            return False
        on_bytes(8 + length)
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            on_bytes(len(chunk))
    return bool(digest.hexdigest() == expected)
