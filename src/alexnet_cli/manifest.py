"""The manifest: a trained model's description, as JSON inside every checkpoint and exported file.

It is the only source `predict` has for classes, sizes and preprocessing; nothing is guessed. Plain
dataclasses, because `predict` starts faster without pydantic.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import Enum, StrEnum
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

from alexnet_cli.errors import ModelFileError
from alexnet_cli.files import sha256_of
from alexnet_cli.networks import PRETRAINED_DATA, NetworkSpec

SCHEMA_VERSION = 6  # the only one that is read
METADATA_KEY = "alexnet.manifest"
WEIGHTS_HASH_KEY = "alexnet.sha256"
"""Metadata of a safetensors export: SHA-256 of the tensors, so that the header identifies them."""

ONNX, SAFETENSORS = ".onnx", ".safetensors"  # formats of model files, as their suffixes
_ONNX_BEGIN = b"\x08"  # the protobuf field of the format's version, which comes first
_MAX_HEADER_BYTES = 16 << 20
NAMED_DATA = ("cifar10", "cifar100", "cifar10.1", "shapes")  # any other dataset is a folder
PUBLIC_DATA = (*NAMED_DATA, PRETRAINED_DATA)
EXPORT_VIEW_COUNTS = (1, 10)
# Fields that were added without a new schema version: older files lack them.
_MAY_LACK = ("val_share",)


@dataclass(frozen=True)
class InputSpec:
    """Preprocessing of an image: resize, crop, then `pixel · scale + shift`."""

    image_size_px: int  # length to which the shorter side is resized
    crop_size_px: int  # side of the centre crop, the network's input
    scale: tuple[float, float, float]  # per RGB channel, for pixels 0–255
    shift: tuple[float, float, float]  # per RGB channel, added after scaling


@dataclass(frozen=True)
class Provenance:
    """The origin of the weights: for people and for `evaluate`, not needed to predict."""

    data: str  # see `data_title`
    seed: int  # of the run; it also fixes the train/validation split
    val_size: int  # images held out of the training set
    epoch: int  # of the weights, counted from 1
    val_top1: float  # validation accuracy of these weights, 0–1, single centre view
    config_sha256: str  # of the training configuration
    versions: dict[str, str]  # of alexnet and of the libraries that trained it
    init: str = "he"  # initial weights that training started from; of a file, see `without_folders`
    momentum_kind: str = "classical"
    images: str = ""  # fingerprint of the images trained on and held out; "" if unknown
    # The fraction that `val_size` is of the training images, 0 for the default; None if the user
    # gave a number. Files of versions before fractions lack it.
    val_share: float | None = None

    @property
    def val_setting(self) -> float | None:
        """The run's `--val-size`, from which its split follows: a number, a fraction, or None."""
        return self.val_size if self.val_share is None else self.val_share or None


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
    """Comparison of an exported file with the trained network, on the same images."""

    num_images: int
    max_logit_difference: float  # absolute
    num_top1_different: int  # images with another top class, near ties left out
    images: str = "images"  # description of the images
    num_right: int | None = None  # that the file classifies correctly; None without labels
    num_right_trained: int | None = None  # that the trained network classifies correctly
    processor: str = ""  # on which they were compared, see `processor_kind`

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

    A file with one view takes centre crops. One with ten takes the resized squares and averages
    the probabilities of the paper's five crops and their mirror images; its logits are the
    logarithms of these averages, so that their softmax gives the probabilities.
    """

    precision: ExportPrecision  # of weights and activations
    num_views: int
    opset: int  # version of the ONNX operators
    lrn_form: LrnForm
    versions: dict[str, str]  # of alexnet and of the libraries that wrote and compared the file
    num_calibration_images: int = 0  # training images that calibrated the ranges of int8
    parity: Parity | None = None  # None before the comparison


@dataclass(frozen=True)
class Manifest:
    """A model's description. `to_json` and `manifest_from_json` are inverse to each other."""

    network: NetworkSpec
    input: InputSpec
    classes: tuple[str, ...]
    provenance: Provenance
    deployment: Deployment | None = None  # of exported files only
    schema: int = SCHEMA_VERSION

    @property
    def num_views(self) -> int:
        """Views of an image that the file averages by itself."""
        return self.deployment.num_views if self.deployment else 1

    @property
    def input_side_px(self) -> int:
        """Side of the squares that the model takes: the crop, or the image where it makes views."""
        return self.input.crop_size_px if self.num_views == 1 else self.input.image_size_px

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)


def manifest_from_json(document: str, *, source: str) -> Manifest:
    """Read and check a manifest.

    `source` names the file in messages.

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
    if schema != SCHEMA_VERSION:
        raise ValueError(f"schema {schema!r}, this version reads {SCHEMA_VERSION}")
    manifest: Manifest = parse_strictly(Manifest, raw)
    _require_consistency(manifest)
    origin = manifest.provenance  # earlier versions wrote paths
    origin = replace(origin, data=data_title(origin.data), init=without_folders(origin.init))
    return replace(manifest, provenance=origin)


def parse_strictly(kind: Any, value: Any) -> Any:
    """Return a JSON value as an annotated type: scalar, tuple, dict, `X | None`, enum or dataclass.

    true and false are not integers, and a field must be there even if it has a default, apart from
    `_MAY_LACK`.

    Raises:
        ValueError, TypeError, KeyError: A value is missing or of another type.
    """
    if kind in (str, int, float, bool):
        return _parse_scalar(kind, value)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return None if value is None else parse_strictly(arguments[0], value)
    if origin is tuple:
        values = _typed(list, value)
        kinds = arguments[:1] * len(values) if arguments[-1] is ... else arguments
        return tuple(parse_strictly(*each) for each in zip(kinds, values, strict=True))
    if origin is dict:
        items = _typed(dict, value).items()
        return {parse_strictly(str, key): parse_strictly(arguments[1], v) for key, v in items}
    if issubclass(kind, Enum):
        return kind(value)
    raw = _typed(dict, value)
    names = [f for f in fields(kind) if f.name in raw or f.name not in _MAY_LACK]
    return kind(**{field.name: parse_strictly(field.type, raw[field.name]) for field in names})


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
    network, image, origin = manifest.network, manifest.input, manifest.provenance
    num_names = len(manifest.classes)
    parity = manifest.deployment.parity if manifest.deployment else None
    for is_right, problem in (
        (
            1 <= network.num_classes == num_names,
            f"{network.num_classes} outputs for {num_names} classes",
        ),
        (len(set(manifest.classes)) == num_names, "two classes have the same name"),
        (network.groups in (1, 2), f"{network.groups} groups"),
        (network.crop_size_px == image.crop_size_px, "network and input disagree on the crop size"),
        (
            origin.seed >= 0 and origin.val_size >= 1 and 0 <= (origin.val_share or 0) < 1,
            "impossible seed or number of validation images",
        ),
        (
            1 <= image.crop_size_px <= image.image_size_px <= 4096,
            f"crop {image.crop_size_px} of image size {image.image_size_px}",
        ),
        (manifest.num_views in EXPORT_VIEW_COUNTS, f"{manifest.num_views} views"),
        (parity is None or parity.num_images >= 1, "compared on no image"),
    ):
        if not is_right:
            raise ValueError(problem)


def data_name(value: str) -> str:
    """Return the name of a dataset in the settings of a run: for a folder, its absolute path."""
    if value in ("", *NAMED_DATA) or not Path(value).is_dir():
        return value
    return str(Path(value).resolve())


def data_title(name: str) -> str:
    """Return the name of a dataset for others to read: for a folder, `photos/`, without its path.

    The slash tells it from a named dataset. Only the run's settings have its path.
    """
    return name if name in PUBLIC_DATA else f"{Path(name).name}/"


def without_folders(value: str) -> str:
    """Return the last name of an absolute path, for others to read; any other text unchanged."""
    return Path(value).name if Path(value).is_absolute() else value


def public_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a run for others to read: paths without their folders."""
    return {k: without_folders(v) if isinstance(v, str) else v for k, v in settings.items()}


def model_format(path: Path) -> str | None:
    """Return the format of a model file, `.onnx` or `.safetensors`; None if it is neither.

    By its suffix (upper or lower case), else by its first bytes: model hubs name cached files by
    their hash.
    """
    if path.is_dir():
        return None
    if path.suffix.lower() in (ONNX, SAFETENSORS):
        return path.suffix.lower()
    if not path.is_file():
        return None
    with path.open("rb") as file:
        begin = file.read(9)
    if begin[8:] == b"{" and int.from_bytes(begin[:8], "little") <= _MAX_HEADER_BYTES:
        return SAFETENSORS
    return ONNX if begin.startswith(_ONNX_BEGIN) else None


def read_safetensors_header(path: Path) -> bytes:
    """Return the JSON header of a safetensors file.

    Raises:
        ValueError: It has none.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length) if length <= _MAX_HEADER_BYTES else b""
    if not 2 <= len(header) == length:
        raise ValueError("not a safetensors file")
    return header


def verify_weights_hash(path: Path, on_bytes: Callable[[int], object] = lambda _: None) -> bool:
    """Compare the tensors of a safetensors export with the hash in its header.

    Reads the entire file: 0.12 s for the 228 MB of `alexnet`, half the time of a first prediction
    from the start of Python.

    Returns:
        False if they differ, or if there is no such header.
    """
    try:
        header = read_safetensors_header(path)
        expected = json.loads(header)["__metadata__"][WEIGHTS_HASH_KEY]
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    start = 8 + len(header)
    on_bytes(start)
    return bool(sha256_of(path, on_bytes, start=start) == expected)
