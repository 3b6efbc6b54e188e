"""The manifest: a trained model's description, as JSON inside every checkpoint and exported file.

It is the only source `predict` has for classes, sizes and preprocessing; nothing is guessed. Plain
dataclasses, because `predict` starts faster without pydantic.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from enum import Enum, StrEnum
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

from alexnet_cli.errors import ModelFileError
from alexnet_cli.networks import NetworkSpec

SCHEMA_VERSION = 6
_BEFORE_INT7 = 5  # its int8 exports had weights of 8 bits; its checkpoints are still read
METADATA_KEY = "alexnet.manifest"
WEIGHTS_HASH_KEY = "alexnet.sha256"
"""Metadata of a safetensors export: SHA-256 of the tensors, so that the header identifies them."""

NAMED_DATA = ("cifar10", "cifar100", "cifar10.1", "shapes")  # any other dataset is a folder
EXPORT_VIEW_COUNTS = (1, 10)


@dataclass(frozen=True)
class InputSpec:
    """Preprocessing of an image: resize, crop, then `pixel · scale + shift`.

    Attributes:
        image_size_px: Length to which the shorter side is resized.
        crop_size_px: Side of the centre crop, the network's input.
        scale: Factor per RGB channel for pixels 0–255.
        shift: Offset per RGB channel, added after scaling.
    """

    image_size_px: int
    crop_size_px: int
    scale: tuple[float, float, float]
    shift: tuple[float, float, float]


@dataclass(frozen=True)
class Provenance:
    """The origin of the weights: for people and for `evaluate`, not needed to predict.

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
        images: Fingerprint of the images trained on and held out; "" if unknown.
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


class ExportPrecision(StrEnum):
    """Number formats of an exported graph."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class LrnForm(StrEnum):
    """Implementations of local response normalisation in a graph.

    `native` is one `LRN` node, `convolution` a 1×1 convolution of x² with a band matrix; `none`:
    the network has no such layer.
    """

    NATIVE = "native"
    CONVOLUTION = "convolution"
    NONE = "none"


@dataclass(frozen=True)
class Parity:
    """Comparison of an exported file with the trained network, on the same images.

    Attributes:
        num_images: Images compared.
        images: Description of the images.
        max_logit_difference: Largest absolute difference of a logit.
        num_top1_different: Images with another top class, near ties left out.
        num_right: Images that the file classifies correctly; none if there are no labels.
        num_right_trained: Images that the trained network classifies correctly.
        processor: Kind of processor on which they were compared, see `processor_kind`.
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
        """Fraction of the images with the same top class."""
        return 1 - self.num_top1_different / self.num_images

    @property
    def top1_change(self) -> float | None:
        """Top-1 accuracy of the file minus that of the trained network, −1 to 1."""
        if self.num_right is None or self.num_right_trained is None:
            return None
        return (self.num_right - self.num_right_trained) / self.num_images


@dataclass(frozen=True)
class Deployment:
    """Settings and results of an export.

    Attributes:
        precision: Number format of weights and activations.
        num_views: 1: the file takes centre crops. 10: it takes the resized squares and averages
            the probabilities of the paper's five crops and their mirror images; its logits are
            the logarithms of these averages, so that their softmax gives the probabilities.
        opset: Version of the ONNX operators.
        lrn_form: Implementation of local response normalisation.
        versions: Versions of alexnet and of the libraries that wrote and compared the file.
        num_calibration_images: Training images that calibrated the ranges of int8; else 0.
        parity: Comparison with the trained network; none before it was made.
    """

    precision: ExportPrecision
    num_views: int
    opset: int
    lrn_form: LrnForm
    versions: dict[str, str]
    num_calibration_images: int = 0
    parity: Parity | None = None


@dataclass(frozen=True)
class Manifest:
    """A model's description. `to_json` and `manifest_from_json` are inverse to each other.

    Only exported files have a `deployment`.
    """

    network: NetworkSpec
    input: InputSpec
    classes: tuple[str, ...]
    provenance: Provenance
    deployment: Deployment | None = None
    schema: int = SCHEMA_VERSION

    @property
    def num_views(self) -> int:
        """Views of an image that the file averages by itself."""
        return self.deployment.num_views if self.deployment else 1

    @property
    def input_side_px(self) -> int:
        """Side of the squares that the model takes: the crop, or the image if it makes views."""
        return self.input.crop_size_px if self.num_views == 1 else self.input.image_size_px

    def to_json(self) -> str:
        """Return the manifest as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)


def manifest_from_json(document: str, *, source: str) -> Manifest:
    """Read and check a manifest.

    Args:
        document: The JSON text.
        source: The file it came from, for messages.

    Raises:
        ModelFileError: The text is not a manifest of this schema, or is inconsistent.
    """
    try:
        return _parse_manifest(json.loads(document))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        reason = f"missing {error}" if isinstance(error, KeyError) else str(error)
        raise ModelFileError(
            f"{source} has no valid alexnet manifest ({reason})",
            hint="export it again with: alexnet export --format onnx",
            code="manifest_invalid",
        ) from error


def _parse_manifest(raw: Any) -> Manifest:
    schema = _typed(dict, raw)["schema"]
    if type(schema) is not int or schema not in (SCHEMA_VERSION, _BEFORE_INT7):
        raise ValueError(
            f"schema {schema!r}, this version reads {_BEFORE_INT7} to {SCHEMA_VERSION}"
        )
    if schema == _BEFORE_INT7:
        raw = {**raw, "schema": SCHEMA_VERSION, "deployment": None}
    manifest: Manifest = parse(Manifest, raw)
    _require_consistency(manifest)
    return manifest


def parse(kind: Any, value: Any) -> Any:
    """Return a JSON value as an annotated type: scalar, list, dict, `X | None`, enum or dataclass.

    Every field of a dataclass must be there, even one that has a default.

    Raises:
        TypeError: The value is of another type; true and false are not integers.
        ValueError: The text is not a member of the enum, or not valid Unicode.
        KeyError: A field is missing.
    """
    if kind in (str, int, float, bool):
        return _parse_scalar(kind, value)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return None if value is None else parse(arguments[0], value)
    if origin is tuple:
        values = _typed(list, value)
        kinds = arguments[:1] * len(values) if arguments[-1] is ... else arguments
        return tuple(parse(*each) for each in zip(kinds, values, strict=True))
    if origin is dict:
        return {parse(str, key): parse(arguments[1], v) for key, v in _typed(dict, value).items()}
    if issubclass(kind, Enum):
        return kind(value)
    raw = _typed(dict, value)
    return kind(**{field.name: parse(field.type, raw[field.name]) for field in fields(kind)})


def _parse_scalar(kind: type, value: Any) -> Any:
    if type(value) is not kind and (kind, type(value)) != (float, int):
        raise TypeError(f"{value!r} is not of type {kind.__name__}")
    if kind is float and not abs(value) < 1e12:
        raise ValueError(f"{value!r} is not a finite number")
    if kind is str:
        value.encode()  # refuses half a surrogate pair here, not later in a print
    return kind(value)


def _typed(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is not of type {kind.__name__}")
    return value


def _require_consistency(manifest: Manifest) -> None:
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
    deployment = manifest.deployment
    if deployment is not None and deployment.num_views not in EXPORT_VIEW_COUNTS:
        raise ValueError(f"{deployment.num_views} views")
    if deployment is not None and deployment.parity and deployment.parity.num_images < 1:
        raise ValueError("compared on no image")


def data_name(value: str) -> str:
    """Return the name of a dataset in runs and manifests: for a folder, its absolute path."""
    if value in ("", *NAMED_DATA) or not Path(value).is_dir():
        return value
    return str(Path(value).resolve())


_MAX_HASHED_HEADER_BYTES = 16 << 20
_CHUNK_BYTES = 1 << 20


def verify_weights_hash(path: Path, on_bytes: Callable[[int], object] = lambda _: None) -> bool:
    """Compare the tensors of a safetensors export with the hash in its header.

    Reads the entire file: 0.12 s for the 228 MB of `alexnet`, half the time of a first prediction
    from the start of Python.

    Args:
        path: The file.
        on_bytes: Called with the number of bytes after each chunk, for a progress bar.

    Returns:
        False if they differ, or if there is no such header.
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
