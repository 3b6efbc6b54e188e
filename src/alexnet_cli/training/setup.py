"""The input of the training loop, and the checks of the settings before a run is created.

`plan_training` checks all that needs no images; `prepare_run` and `--dry-run` call it first.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from alexnet_cli.config.schema import ClassWeights, Init, InputScaling, TrainConfig
from alexnet_cli.console import counted
from alexnet_cli.data.arrays import ColourStatistics, ImageSource, load_if_fits
from alexnet_cli.data.batches import BatchSettings
from alexnet_cli.data.datasets import Dataset, find_dataset, load_training
from alexnet_cli.data.folder import ImageFolder
from alexnet_cli.data.run_images import RunImages, count_identical
from alexnet_cli.errors import AlexnetError, UsageError
from alexnet_cli.manifest import InputSpec, Manifest, Provenance, data_title, without_folders
from alexnet_cli.models.build import num_parameters, outline_network, published_init
from alexnet_cli.models.lrn import kernel_name
from alexnet_cli.networks import NetworkSpec, network_spec
from alexnet_cli.run_folder import RunFolder
from alexnet_cli.training.checkpoint import ColourAxes
from alexnet_cli.training.device import describe_device
from alexnet_cli.training.open_model import Pretrained, open_pretrained
from alexnet_cli.training.ranks import ALONE, Ranks, StopRequest
from alexnet_cli.training.run_files import library_versions

_CONSTANT_STD = 1e-2  # of pixels 0–255: a constant channel is not scaled
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True)
class TrainingRun:
    """The input of the training loop."""

    config: TrainConfig
    manifest: Manifest
    train: ImageSource
    val: ImageSource
    folder: RunFolder
    device: torch.device
    dtype: torch.dtype  # of the forward and backward pass
    colour_axes: ColourAxes = ()  # of the colour noise, scaled by its standard deviation
    pretrained: Pretrained | None = None
    ranks: Ranks = ALONE
    num_workers: int = 0  # threads that decode images; 0 = one per core
    stop: StopRequest = field(default_factory=StopRequest)
    # Counts of images that are in two splits, for `metrics.json`; empty if they are not known.
    identical: dict[str, int | None] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Hardware and versions that bit-identity depends on."""
        return {
            "device": describe_device(self.device),
            "precision": str(self.dtype).removeprefix("torch."),
            "lrn": kernel_name(self.device),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "images": self.manifest.provenance.images,
            **self.ranks.environment,
        }

    def class_weights(self) -> Tensor | None:
        """Return the weight of each class in the training loss, float32 (K,); None: all are 1.

        A class with n_k of n images has the weight n/(K·n_k). The mean over the images is 1.

        Source: King & Zeng 2001, "Logistic regression in rare events data", in the form of
        `class_weight="balanced"` in scikit-learn.
        """
        if self.config.class_weights is ClassWeights.NONE:
            return None
        counts_K = np.bincount(self.train.labels_N, minlength=len(self.manifest.classes))
        num_classes = np.count_nonzero(counts_K)  # all images of a class may have been held out
        weights_K = len(self.train) / (num_classes * np.maximum(counts_K, 1))
        return torch.from_numpy(weights_K.astype(np.float32)).to(self.device)

    def describe(self) -> str:
        """Describe in one line what is trained, on what data and on which hardware."""
        parameters = num_parameters(outline_network(self.manifest.network))
        image = self.manifest.input
        lrn = self.environment["lrn"]
        slow_lrn = f", slow LRN by {lrn}" if lrn.startswith("convolution") else ""
        processes = "" if self.ranks.is_alone else f", {self.ranks.world_size} processes"
        return (
            f"training {self.config.model} ({parameters:,} parameters) on "
            f"{counted(len(self.train), 'image')} of {self.config.data}, "
            f"{image.crop_size_px}-px crops of {image.image_size_px} px, "
            f"{len(self.val):,} held out; {self.environment['device']}, "
            f"{self.environment['precision']}{slow_lrn}{processes}; {self.folder.path}"
        )


def plan_training(
    config: TrainConfig, *, num_ranks: int = 1
) -> tuple[Dataset, NetworkSpec, Pretrained | None]:
    """Check a configuration as far as possible without images and devices.

    Not covered is what depends on the number of images: `--val-size`, and a last batch with a
    single image.

    Returns:
        The dataset, which need not be downloaded yet; the network, for the crops of the later
        epochs; the weights to start from.

    Raises:
        AlexnetError: The dataset, folder or weights do not exist, or sizes, network and weights do
            not fit each other.
    """
    pretrained = open_pretrained(config.from_weights) if config.from_weights else None
    if pretrained is not None:
        pretrained.require_same_network(config)
    dataset = find_dataset(config.data)
    spec = plan_network(config, dataset)
    require_fit(config, spec)
    if pretrained is not None:
        pretrained.require_fit(outline_network(spec), classes=dataset.classes)
    refuse_split_batches(config, spec, num_ranks=num_ranks)
    return dataset, spec, pretrained


def load_split_images(config: TrainConfig, dataset: Dataset) -> RunImages:
    """Draw the split of a new run, with all files of a folder opened first, so that none fails."""
    train, val = load_training(dataset, val_size=config.val_size, seed=config.seed)
    for part in (train, val):
        if isinstance(part, ImageFolder):
            part.require_headers()
    return RunImages(train.hashed(), val.hashed())


def resize_images(
    images: RunImages, size_px: int, num_workers: int
) -> tuple[ImageSource, ImageSource]:
    """Return training and validation images; where they fit, they are in memory, resized."""
    train, val = (
        load_if_fits(source, size_px=size_px, num_workers=num_workers)
        for source in (images.train, images.val)
    )
    return train, val


def count_identical_images(dataset: Dataset, images: RunImages) -> dict[str, int | None]:
    """Count images that are in two splits; of the test images only hashes are read."""
    try:
        test = dataset.hash_test()
    except AlexnetError:  # `evaluate` reports it
        test = None
    return count_identical(images.train.hashes(), images.val.hashes(), test)


def plan_network(config: TrainConfig, dataset: Dataset) -> NetworkSpec:
    """Return the network for the crops and classes of a dataset.

    Raises:
        UsageError: The sizes do not fit each other, or the network lacks an option.
    """
    _, crop_size_px = resolve_sizes(config, stored_px=dataset.image_size_px)
    return network_spec(
        config.model,
        num_classes=len(dataset.classes),
        crop_size_px=crop_size_px,
        dropout=config.dropout,
        options=config.network_options,
    )


def resolve_sizes(config: TrainConfig, *, stored_px: int | None) -> tuple[int, int]:
    """Return image and crop size in pixels, with defaults for the zeros of the configuration.

    Images of many sizes are resized, by default, to what the network was made for: 256 px for
    the networks of ImageNet (paper §2), else CIFAR-10's 32 px.

    Raises:
        UsageError: The crop is larger than the image, or the images are small and the network is
            a large one.
    """
    info = config.model.info
    image_size_px = config.image_size or stored_px or info.image_size_px
    if image_size_px < info.crop_size_px and not config.image_size and not config.crop_size:
        raise UsageError(
            f"{config.data} has {image_size_px}-px images; {config.model} was made for "
            f"{info.crop_size_px} px",
            hint="enlarge them with --image-size 227, or train --model alexnet-cifar",
        )
    crop_size_px = config.crop_size or info.own_crop_px(image_size_px)
    if crop_size_px > image_size_px:
        raise UsageError(
            f"crops of {crop_size_px} px do not fit images of {image_size_px} px",
            hint=f"choose --crop-size {image_size_px} or less, or a larger --image-size",
        )
    return image_size_px, crop_size_px


def require_fit(config: TrainConfig, spec: NetworkSpec, *, num_images: int | None = None) -> None:
    """Refuse, before anything is written, what would fail in the middle of a run.

    Without `num_images`, the size of the last batch is not checked.

    Raises:
        UsageError: The network does not take the crops, does not have these initial weights, or
            batch normalisation would see a batch with a single image.
    """
    if config.dropout and not config.model.info.has_dropout:
        raise UsageError(
            f"{config.model} has no dropout", hint="leave --dropout out, or set it to 0"
        )
    if config.init is not Init.HE:
        published_init(config.model, config.init)
    early_px = config.early_crop_size or spec.crop_size_px
    if early_px > spec.crop_size_px or not _takes(spec, early_px):
        raise UsageError(
            f"{config.model} for {spec.crop_size_px}-px crops does not take "
            f"{early_px}-px crops in its early epochs",
            hint="use the same crops in all epochs: --early-crop-size 0",
        )
    if num_images is None:
        return
    smallest = min(num_images, num_images % config.batch_size or config.batch_size)
    if smallest == 1 and has_batch_norm(spec):
        sizes = range(config.batch_size + 1, num_images + 1)
        size = next((size for size in sizes if num_images % size != 1), None)
        raise UsageError(
            f"with --batch-size {config.batch_size}, the last batch of {num_images:,} training "
            "images has only one; batch normalisation needs two",
            hint=f"choose --batch-size {size}" if size else "add training images",
        )


def _takes(spec: NetworkSpec, crop_size_px: int) -> bool:
    try:
        crop = torch.empty(1, 3, crop_size_px, crop_size_px, device="meta")
        outline_network(spec).eval()(crop)
    except RuntimeError:
        return False
    return True


def refuse_split_batches(config: TrainConfig, spec: NetworkSpec, *, num_ranks: int) -> None:
    """Refuse to split the batches of a network with batch normalisation.

    Raises:
        UsageError: The statistics, and so the result, would depend on how batches are split.
    """
    flag = "--processes" if num_ranks > 1 else "--micro-batch-size"
    if (num_ranks > 1 or config.micro_batch_size) and has_batch_norm(spec):
        raise UsageError(
            f"{config.model} normalises over entire batches; {flag} would split them",
            hint=f"leave {flag} out, or train another network: --model alexnet-cifar",
        )


def has_batch_norm(spec: NetworkSpec) -> bool:
    """Return whether an image's activations depend on the other images of its batch."""
    return any(isinstance(module, _BATCH_NORMS) for module in outline_network(spec).modules())


def describe_model(
    config: TrainConfig,
    dataset: Dataset,
    colours: ColourStatistics,
    *,
    num_val: int = 1,
    fingerprint: str = "",
    pretrained: Manifest | None = None,
) -> Manifest:
    """Describe the model that a run will train.

    `fingerprint` is that of the split. `pretrained` describes the weights to start from,
    whose input scaling is kept.

    Raises:
        UsageError: The sizes do not fit each other, the network or the images, or the network
            lacks an option.
    """
    spec = plan_network(config, dataset)
    image_size_px, _ = resolve_sizes(config, stored_px=dataset.image_size_px)
    scale, shift = _input_scaling(config, colours)
    is_number = config.val_size is not None and config.val_size >= 1
    if pretrained is not None:
        scale, shift = pretrained.input.scale, pretrained.input.shift
    return Manifest(
        network=spec,
        input=InputSpec(image_size_px, spec.crop_size_px, scale=scale, shift=shift),
        classes=dataset.classes,
        provenance=Provenance(
            data=data_title(dataset.name),
            seed=config.seed,
            val_size=num_val,
            epoch=0,
            val_top1=0.0,
            config_sha256=config.sha256(),
            versions=library_versions(),
            init=without_folders(config.from_weights) or config.init,
            momentum_kind=config.momentum_kind,
            images=fingerprint,
            val_share=None if is_number else config.val_size or 0.0,  # 0 = default fraction
        ),
    )


def _input_scaling(
    config: TrainConfig, colours: ColourStatistics
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return scale and shift by channel.

    Paper §2: the mean over the training set is subtracted from each pixel, the scale 0–255 kept.
    Here: the mean by channel, the same for all pixels, because crops of other sizes then see the
    same input; and by default divided by the standard deviation too, because with He's initial
    weights this starts to learn at once on any data.
    """
    is_centred = config.input_scaling is InputScaling.CENTRED
    stds = [float(std) if std > _CONSTANT_STD else 1.0 for std in colours.std_C]
    red, green, blue = (1.0 if is_centred else 1.0 / std for std in stds)
    mean = colours.mean_C.tolist()
    return (red, green, blue), (-mean[0] * red, -mean[1] * green, -mean[2] * blue)


def batch_settings(
    config: TrainConfig, image_size_px: int, colour_axes: ColourAxes
) -> BatchSettings:
    return BatchSettings(
        image_size_px=image_size_px,
        batch_size=config.batch_size,
        pad_px=config.pad,
        flip=config.flip,
        seed=config.seed,
        colour_axes=colour_axes,
    )
