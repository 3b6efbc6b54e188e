"""The peer: a plain training loop in the style of torchvision's classification reference.

The same network (layers, shapes, initial weights) in float32 and channels-first, with PyTorch's own
LRN; PIL images through torchvision's transforms in a `DataLoader`; loss and accuracies are read
back after every step, as the meters of that reference do.

Source: `pytorch/vision`, `references/classification/train.py` (its habits, none of its code).
"""

import pickle
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import datasets
from torchvision.transforms import v2 as transforms

from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.manifest import Manifest
from alexnet_cli.models.build import build_network
from alexnet_cli.models.lrn import LocalResponseNorm

Batch = tuple[Tensor, Tensor]


def build_model(manifest: Manifest) -> nn.Module:
    """Return the same network with PyTorch's own LRN layers."""
    network = build_network(manifest.network)
    for name, layer in list(network.named_modules()):
        if isinstance(layer, LocalResponseNorm):
            own = nn.LocalResponseNorm(layer.size, layer.alpha, layer.beta, layer.k)
            network.set_submodule(name, own)
    return network


@dataclass
class PlainLoop:
    """Model and optimizer of the plain loop."""

    model: nn.Module  # float32, channels-first
    optimizer: torch.optim.Optimizer  # SGD with PyTorch's default implementation
    device: torch.device
    number_format: torch.dtype = torch.float32  # of the forward pass, by autocast

    @classmethod
    def create(
        cls, manifest: Manifest, device: torch.device, number_format: torch.dtype = torch.float32
    ) -> "PlainLoop":
        """Build the network of a manifest, with learning rate, momentum and decay of `train`."""
        model = build_model(manifest).to(device)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        model.train()
        return cls(model, optimizer, device, number_format)

    def train_step(self, images_NCHW: Tensor, labels_N: Tensor) -> tuple[float, float, float]:
        """Make one update and return loss, top-1 and top-5."""
        images_NCHW, labels_N = images_NCHW.to(self.device), labels_N.to(self.device)
        is_mixed = self.number_format != torch.float32
        with torch.autocast(self.device.type, self.number_format, enabled=is_mixed):
            output_NK = self.model(images_NCHW)
            loss = nn.functional.cross_entropy(output_NK, labels_N)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        top1, top5 = accuracy(output_NK, labels_N)
        return loss.item(), top1.item(), top5.item()

    def train_one_epoch(self, loader: Iterable[Batch]) -> None:
        self.model.train()
        for images_NCHW, labels_N in loader:
            self.train_step(images_NCHW, labels_N)

    def evaluate(self, loader: Iterable[Batch]) -> float:
        """Return the mean top-1 over the batches, in percent."""
        self.model.eval()
        num_right, num_images = 0.0, 0
        with torch.no_grad():
            for images, labels in loader:
                images_NCHW, labels_N = images.to(self.device), labels.to(self.device)
                output_NK = self.model(images_NCHW)
                nn.functional.cross_entropy(output_NK, labels_N).item()
                top1, _ = accuracy(output_NK, labels_N)
                num_right += top1.item() * len(labels_N)
                num_images += len(labels_N)
        return num_right / num_images


def accuracy(output_NK: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return top-1 and top-5 in percent, as tensors."""
    top_N5 = output_NK.detach().topk(5, dim=1).indices
    is_right_N5 = top_N5 == labels_N[:, None]
    return 100.0 * is_right_N5[:, 0].float().mean(), 100.0 * is_right_N5.any(1).float().mean()


class PlainDataset(datasets.CIFAR10):
    """torchvision's own dataset, for files with any hash."""

    def _check_integrity(self) -> bool:
        return True

    def _load_meta(self) -> None:
        self.classes = [str(label) for label in range(10)]


def write_files(folder: Path, train: ImageArrays, test: ImageArrays) -> None:
    """Write images in the format of the unpacked Python archive, for `PlainDataset`."""
    base = folder / PlainDataset.base_folder
    base.mkdir(parents=True)
    for number, indices in enumerate(np.array_split(np.arange(len(train)), 5), start=1):
        _write_batch(base / f"data_batch_{number}", train.take(indices))
    _write_batch(base / "test_batch", test)


def _write_batch(path: Path, arrays: ImageArrays) -> None:
    pixels = arrays.images_NHWC.transpose(0, 3, 1, 2).reshape(len(arrays), -1)
    content = {"data": np.ascontiguousarray(pixels), "labels": arrays.labels_N.tolist()}
    path.write_bytes(pickle.dumps(content))


def make_loader(
    folder: Path, *, is_training: bool, crop_px: int, batch_size: int, num_images: int | None = None
) -> DataLoader[Batch]:
    """Return the loader of the plain loop, with its two workers.

    Args:
        folder: Folder of `write_files`.
        is_training: Random crops and flips of training images; else centre crops of test images.
        crop_px: Side of the crops.
        batch_size: Images per batch.
        num_images: Only the first images, that many.
    """
    dataset: Dataset[Batch] = PlainDataset(
        str(folder),
        train=is_training,
        transform=transform(is_training=is_training, crop_px=crop_px),
    )
    if num_images is not None:
        dataset = Subset(dataset, range(num_images))
    return DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=is_training,
        num_workers=2,
        pin_memory=torch.cuda.is_available(),
    )


def transform(*, is_training: bool, crop_px: int) -> transforms.Transform:
    """Return the transforms of one PIL image."""
    crop = (
        [transforms.RandomCrop(crop_px), transforms.RandomHorizontalFlip()]
        if is_training
        else [transforms.CenterCrop(crop_px)]
    )
    to_float = [transforms.PILToTensor(), transforms.ToDtype(torch.float32, scale=True)]
    scaling = transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    return transforms.Compose([*crop, *to_float, scaling, transforms.ToPureTensor()])
