"""From a configuration to everything the loop needs."""

import torch
from torch import nn

from alexnet_cli.config import TrainConfig
from alexnet_cli.data.arrays import ImageSource
from alexnet_cli.data.catalog import Dataset
from alexnet_cli.data.resident import training_statistics
from alexnet_cli.errors import UsageError
from alexnet_cli.manifest import InputSpec, Manifest, Network, NetworkSpec, Provenance
from alexnet_cli.models.build import outline_network
from alexnet_cli.training.records import library_versions


def describe_model(
    config: TrainConfig, dataset: Dataset, train: ImageSource, *, num_workers: int = 0
) -> Manifest:
    """Describe the model that a run will train.

    The inputs are standardised: per channel, mean 0 and standard deviation 1 over the training
    images. Paper §2: mean subtracted, scale 0–255 left. Here: divided by the standard deviation
    too, because with `init_he` this starts to learn at once, whatever the data.

    Args:
        config: The run's configuration.
        dataset: The dataset it names.
        train: The images trained on, whose statistics become the input scaling.
        num_workers: Threads that make images ready; 0: as many as cores.

    Raises:
        UsageError: The sizes do not fit each other, the network or the images.
    """
    image_size_px, crop_size_px = resolve_sizes(config, stored_px=dataset.image_size_px)
    mean, std = training_statistics(
        train, size_px=image_size_px, seed=config.seed, num_workers=num_workers
    )
    red, green, blue = (1.0 / max(float(s), 1e-6) for s in std)
    scale = (red, green, blue)
    shift = (-float(mean[0]) * red, -float(mean[1]) * green, -float(mean[2]) * blue)
    return Manifest(
        network=NetworkSpec(
            name=config.model,
            num_classes=len(dataset.classes),
            crop_size_px=crop_size_px,
            dropout=config.dropout,
        ),
        input=InputSpec(image_size_px, crop_size_px, scale=scale, shift=shift),
        classes=dataset.classes,
        provenance=Provenance(
            data=dataset.name,
            seed=config.seed,
            val_size=config.val_size,
            epoch=0,
            val_top1=0.0,
            config_sha256=config.sha256(),
            versions=library_versions(),
        ),
    )


def resolve_sizes(config: TrainConfig, *, stored_px: int | None) -> tuple[int, int]:
    """Return image and crop size in pixels, the zeros of the configuration filled in.

    Images of many sizes are resized, by default, to what the network was made for: 256 px for
    `alexnet` (paper §2), else CIFAR-10's 32 px.

    Raises:
        UsageError: The crop is larger than the image, or small images meet the large network.
    """
    made_for_px = 256 if config.model is Network.ALEXNET else 32
    image_size_px = config.image_size or stored_px or made_for_px
    if config.model is Network.ALEXNET and image_size_px < 224 and not config.image_size:
        raise UsageError(
            f"{config.data} has {image_size_px}-px images; alexnet was made for 224 px",
            hint="enlarge them with --image-size 227, or train --model alexnet-cifar",
        )
    # Paper: 224 of 256 px. 28 of 32 is the same share.
    crop_size_px = config.crop_size or round(image_size_px * 7 / 8)
    if config.model is Network.ALEXNET and not config.crop_size:
        crop_size_px = min(224, image_size_px)
    if crop_size_px > image_size_px:
        raise UsageError(
            f"crops of {crop_size_px} px do not fit images of {image_size_px} px",
            hint=f"choose --crop-size {image_size_px} or less, or a larger --image-size",
        )
    return image_size_px, crop_size_px


def require_fit(config: TrainConfig, network: NetworkSpec, *, num_images: int) -> None:
    """Refuse, before anything is written, what would fail in the middle of a run.

    Args:
        config: The run's configuration.
        network: The network it trains.
        num_images: Images trained on.

    Raises:
        UsageError: The network does not take the crops, or batch normalisation would see a batch
            of a single image.
    """
    outline = outline_network(network).eval()
    early_px = config.early_crop_size
    if early_px > network.crop_size_px or not _takes(outline, early_px or network.crop_size_px):
        raise UsageError(
            f"{config.model} for {network.crop_size_px}-px crops does not take "
            f"{early_px}-px crops in its early epochs",
            hint="leave them as large as the later ones: --early-crop-size 0",
        )
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
    norms = (nn.BatchNorm1d, nn.BatchNorm2d)
    if any(isinstance(module, norms) for module in outline_network(network).modules()):
        flag = "--processes" if num_ranks > 1 else "--micro-batch-size"
        if num_ranks > 1 or config.micro_batch_size:
            raise UsageError(
                f"{config.model} normalises over whole batches; {flag} would divide them",
                hint=f"leave {flag} out, or train another network: --model alexnet-cifar",
            )


def _takes(outline: nn.Module, crop_size_px: int) -> bool:
    try:
        outline(torch.empty(1, 3, crop_size_px, crop_size_px, device="meta"))
    except RuntimeError:
        return False
    return True
