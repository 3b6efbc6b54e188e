"""From a configuration to everything the loop needs.

What a configuration comes to before an image is read, checked.

What to train: the training loop's input.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from alexnet_cli.config.recipes import architecture_options
from alexnet_cli.config.schema import Init, InputScaling, TrainConfig
from alexnet_cli.data.arrays import ColourStatistics, ImageSource
from alexnet_cli.data.augment import BatchSettings
from alexnet_cli.data.datasets import Dataset, find_dataset
from alexnet_cli.errors import UsageError
from alexnet_cli.manifest import InputSpec, Manifest, Provenance
from alexnet_cli.models.build import num_parameters, outline_network, published_init
from alexnet_cli.models.lrn import kernel_name
from alexnet_cli.networks import NetworkSpec, network_spec
from alexnet_cli.runs import RunFolder
from alexnet_cli.training.checkpoint import ColourAxes
from alexnet_cli.training.device import describe_device
from alexnet_cli.training.finetune import Pretrained, open_pretrained
from alexnet_cli.training.ranks import Ranks, StopRequest
from alexnet_cli.training.run_files import library_versions
from alexnet_cli.training.saving import SaveInterval


def describe_model(
    config: TrainConfig,
    dataset: Dataset,
    colours: ColourStatistics,
    *,
    pretrained: Manifest | None = None,
) -> Manifest:
    """Describe the model that a run will train.

    Args:
        config: The run's configuration.
        dataset: The dataset it names.
        colours: Of the images trained on; from them comes the input scaling.
        pretrained: Description of the weights to start from, whose input scaling stays.

    Raises:
        UsageError: The sizes do not fit each other, the network or the images, or the network does
            not have an option.
    """
    image_size_px, network = plan_network(config, dataset)
    scale, shift = _scaling(config, colours)
    if pretrained is not None:
        scale, shift = pretrained.input.scale, pretrained.input.shift
    return Manifest(
        network=network,
        input=InputSpec(image_size_px, network.crop_size_px, scale=scale, shift=shift),
        classes=dataset.classes,
        provenance=Provenance(
            data=dataset.name,
            seed=config.seed,
            val_size=config.val_size,
            epoch=0,
            val_top1=0.0,
            config_sha256=config.sha256(),
            versions=library_versions(),
            init=config.from_weights or config.init,
            momentum_kind=config.momentum_kind,
        ),
    )


def plan_network(config: TrainConfig, dataset: Dataset) -> tuple[int, NetworkSpec]:
    """Return the side that images are resized to, in pixels, and the network for their crops.

    Raises:
        UsageError: The sizes do not fit each other, or the network does not have an option.
    """
    image_size_px, crop_size_px = resolve_sizes(config, stored_px=dataset.image_size_px)
    return image_size_px, network_spec(
        config.model,
        num_classes=len(dataset.classes),
        crop_size_px=crop_size_px,
        dropout=config.dropout,
        options=architecture_options(config),
    )


def _scaling(
    config: TrainConfig, colours: ColourStatistics
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return scale and shift by channel.

    Paper §2: the mean over the training set is subtracted from each pixel, the scale 0–255 left.
    Here: the mean by channel, the same for all pixels, because crops of other sizes then see the
    same input; and by default divided by the standard deviation too, because with He's initial
    weights this starts to learn at once, whatever the data.
    """
    is_centred = config.input_scaling is InputScaling.CENTRED
    red, green, blue = (1.0 if is_centred else 1.0 / max(float(std), 1e-6) for std in colours.std_C)
    mean = colours.mean_C.tolist()
    return (red, green, blue), (-mean[0] * red, -mean[1] * green, -mean[2] * blue)


def resolve_sizes(config: TrainConfig, *, stored_px: int | None) -> tuple[int, int]:
    """Return image and crop size in pixels, the zeros of the configuration filled in.

    Images of many sizes are resized, by default, to what the network was made for: 256 px for
    the networks of ImageNet (paper §2), else CIFAR-10's 32 px.

    Raises:
        UsageError: The crop is larger than the image, or small images meet the large network.
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


def batch_settings(
    config: TrainConfig, *, image_size_px: int, colour_axes: ColourAxes
) -> BatchSettings:
    """Return how a configuration's training set is dealt out.

    Args:
        config: The run's configuration.
        image_size_px: Side that images are resized to, of `resolve_sizes`.
        colour_axes: Directions of the noise of colours, each as long as the noise.
    """
    return BatchSettings(
        image_size_px=image_size_px,
        batch_size=config.batch_size,
        pad_px=config.pad,
        flip=config.flip,
        seed=config.seed,
        colour_axes=colour_axes,
    )


def require_fit(
    config: TrainConfig, network: NetworkSpec, *, num_images: int | None = None
) -> None:
    """Refuse, before anything is written, what would fail in the middle of a run.

    Args:
        config: The run's configuration.
        network: The network it trains.
        num_images: Images trained on; None: not known yet, and their last batch not checked.

    Raises:
        UsageError: The network does not take the crops, has no such initial weights, or batch
            normalisation would see a batch of a single image.
    """
    if config.dropout and not config.model.info.has_dropout:
        raise UsageError(
            f"{config.model} has no dropout", hint="leave --dropout out, or set it to 0"
        )
    if config.init is not Init.HE:
        published_init(config.model, config.init)
    outline = outline_network(network).eval()
    early_px = config.early_crop_size
    if early_px > network.crop_size_px or not _takes(outline, early_px or network.crop_size_px):
        raise UsageError(
            f"{config.model} for {network.crop_size_px}-px crops does not take "
            f"{early_px}-px crops in its early epochs",
            hint="leave them as large as the later ones: --early-crop-size 0",
        )
    if num_images is None:
        return
    smallest = num_images % config.batch_size or config.batch_size
    has_norm = any(isinstance(m, nn.BatchNorm2d) for m in outline.modules())
    if has_norm and min(smallest, num_images) == 1:
        raise UsageError(
            f"batches of {config.batch_size} leave a batch of one image of {num_images:,}; "
            "batch normalisation needs two",
            hint=f"choose another size: --batch-size {config.batch_size + 1}",
        )


def require_whole_batches(config: TrainConfig, network: NetworkSpec, *, num_ranks: int) -> None:
    """Refuse to divide a batch whose images do not pass the network independently.

    Args:
        config: The run's configuration.
        network: The network it trains.
        num_ranks: Processes that share each batch.

    Raises:
        UsageError: Batch normalisation would see parts of a batch, and the result would depend on
            their size.
    """
    if not can_divide_batches(network):
        flag = "--processes" if num_ranks > 1 else "--micro-batch-size"
        if num_ranks > 1 or config.micro_batch_size:
            raise UsageError(
                f"{config.model} normalises over whole batches; {flag} would divide them",
                hint=f"leave {flag} out, or train another network: --model alexnet-cifar",
            )


def can_divide_batches(network: NetworkSpec) -> bool:
    """Tell whether images pass a network independently of each other in training."""
    norms = (nn.BatchNorm1d, nn.BatchNorm2d)
    return not any(isinstance(module, norms) for module in outline_network(network).modules())


def _takes(outline: nn.Module, crop_size_px: int) -> bool:
    try:
        outline(torch.empty(1, 3, crop_size_px, crop_size_px, device="meta"))
    except RuntimeError:
        return False
    return True


@dataclass(frozen=True)
class Plan:
    """What will be trained.

    Attributes:
        dataset: What the images are taken from; a published one need not be downloaded yet.
        image_size_px: Side that images are resized to.
        network: The network, for the crops of the later epochs.
        pretrained: Weights to start from.
    """

    dataset: Dataset
    image_size_px: int
    network: NetworkSpec
    pretrained: Pretrained | None


def plan_run(config: TrainConfig, *, num_ranks: int = 1) -> Plan:
    """Check a configuration as far as it goes without images and devices.

    `alexnet train` does so before it reads the images, `--dry-run` does nothing else. What depends
    on the number of images is not covered: `--val-size`, and a last batch of a single image.

    Args:
        config: The run's configuration.
        num_ranks: Processes that share each batch.

    Raises:
        AlexnetError: There is no such dataset, folder or weights, or sizes, network and weights do
            not fit each other.
    """
    pretrained = _open_weights(config)
    dataset = find_dataset(config.data)
    image_size_px, network = plan_network(config, dataset)
    require_fit(config, network)
    if pretrained is not None:
        pretrained.left_out(outline_network(network), classes=dataset.classes)
    require_whole_batches(config, network, num_ranks=num_ranks)
    return Plan(dataset, image_size_px, network, pretrained)


def _open_weights(config: TrainConfig) -> Pretrained | None:
    if not config.from_weights:
        return None
    pretrained = open_pretrained(config.from_weights)
    own = pretrained.manifest.network.name
    if own is not config.model:
        raise UsageError(
            f"the weights {config.from_weights} are of {own}, not of {config.model}",
            hint=f"train --model {own}",
        )
    pretrained.require_same_options(config)
    return pretrained


@dataclass(frozen=True)
class RuntimeOptions:
    """How a run is carried out; its result does not depend on it, but for the device.

    Attributes:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        num_workers: Threads that make images ready; 0: as many as cores.
        save_interval: How often a checkpoint is written inside an epoch.
        deterministic: Whether CUDA, too, must give the same bytes each time.
        ranks: The processes of the run; the first of them writes.
    """

    device: str = "auto"
    num_workers: int = 0
    save_interval: SaveInterval = field(default_factory=SaveInterval)
    deterministic: bool = False
    ranks: Ranks = field(default_factory=Ranks)


@dataclass(frozen=True)
class TrainingRun:
    """What to train, on what, and where to keep it.

    Attributes:
        colour_axes: Directions in which colours change, each as long as the noise; none without.
        save_interval: How often a checkpoint is written inside an epoch.
    """

    config: TrainConfig
    manifest: Manifest
    train: ImageSource
    val: ImageSource
    run: RunFolder
    device: torch.device
    dtype: torch.dtype
    colour_axes: ColourAxes = ()
    pretrained: Pretrained | None = None
    num_workers: int = 0
    stop: StopRequest = field(default_factory=StopRequest)
    ranks: Ranks = field(default_factory=Ranks)
    save_interval: SaveInterval = field(default_factory=SaveInterval)

    @property
    def environment(self) -> dict[str, str]:
        """What bit-identity depends on beside the configuration."""
        return {
            "device": describe_device(self.device),
            "precision": str(self.dtype).removeprefix("torch."),
            "lrn": kernel_name(self.device),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "images": self.manifest.provenance.images,
            **self.ranks.environment,
        }


def describe_run(job: TrainingRun) -> str:
    """Say in one line what is about to be trained, on what and where."""
    parameters = num_parameters(outline_network(job.manifest.network))
    spec = job.manifest.input
    lrn = job.environment["lrn"]
    slow = f", slow LRN by {lrn}" if lrn.startswith("convolution") else ""
    several = "" if job.ranks.is_alone else f", {job.ranks.world_size} processes"
    return (
        f"training {job.config.model} ({parameters:,} parameters) on {len(job.train):,} images "
        f"of {job.config.data}, {spec.crop_size_px}-px crops of {spec.image_size_px} px, "
        f"{len(job.val):,} held out; {job.environment['device']}, {job.environment['precision']}"
        f"{slow}{several}; {job.run.path}"
    )
