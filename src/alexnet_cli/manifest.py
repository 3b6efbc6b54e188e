"""What a trained model needs in order to be run, as JSON inside every exported file.

The manifest is the only source `predict` has for classes, sizes and preprocessing; nothing is
guessed. Plain dataclasses, because `predict` starts faster without pydantic.
"""

import dataclasses
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from alexnet_cli.deployment import Deployment, parse_deployment
from alexnet_cli.errors import ModelFileError
from alexnet_cli.json_values import (
    integer,
    number,
    text,
    texts,
    texts_by_name,
    three_numbers,
    truth,
)

SCHEMA_VERSION = 6
_EARLIER_EXPORTS = 5  # int8 had weights of 8 bits; checkpoints and weights are still read
_READ = (SCHEMA_VERSION, _EARLIER_EXPORTS)
NAMED_DATA = ("cifar10", "cifar100", "cifar10.1", "shapes")  # any other dataset is a folder
METADATA_KEY = "alexnet.manifest"
WEIGHTS_HASH_KEY = "alexnet.sha256"
"""Metadata of a safetensors export: SHA-256 of the tensors, so that the header identifies them."""


class Network(StrEnum):
    """The networks that can be built by name."""

    ALEXNET = "alexnet"
    ALEXNET_OWT = "alexnet-owt"
    ALEXNET_CIFAR = "alexnet-cifar"
    ALEXNET_CIFAR_BN = "alexnet-cifar-bn"
    CUDA_CONVNET_80SEC = "cuda-convnet-80sec"
    CUDA_CONVNET_19PCT = "cuda-convnet-19pct"
    CUDA_CONVNET_18PCT = "cuda-convnet-18pct"
    CUDA_CONVNET_13PCT = "cuda-convnet-13pct"
    CUDA_CONVNET_11PCT = "cuda-convnet-11pct"


class Activation(StrEnum):
    """What follows a hidden layer."""

    RELU = "relu"
    TANH = "tanh"


class Pool(StrEnum):
    """Windows of the pooling layers: 3×3 or 2×2, at stride 2 both."""

    OVERLAPPING = "overlapping"
    PLAIN = "plain"


class Kernels(StrEnum):
    """How many kernels the convolutions have before the last: the published number, or half."""

    ALL = "all"
    HALF = "half"


@dataclass(frozen=True)
class NetworkSpec:
    """What rebuilds the network.

    Attributes:
        name: Which network.
        num_classes: Outputs of the last layer.
        crop_size_px: Side of the square input.
        dropout: Probability of zeroing a hidden unit in training.
        activation: After each hidden layer.
        lrn: Whether the network has its local response normalisation.
        pool: Windows of the pooling layers.
        groups: Towers that the convolutions are divided into.
        kernels: How many kernels the convolutions have.
    """

    name: Network
    num_classes: int
    crop_size_px: int
    dropout: float = 0.5
    activation: Activation = Activation.RELU
    lrn: bool = True
    pool: Pool = Pool.OVERLAPPING
    groups: int = 2
    kernels: Kernels = Kernels.ALL


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
