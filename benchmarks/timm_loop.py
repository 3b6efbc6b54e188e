"""A second peer: timm's loader, optimizer and meters, combined as in timm's training script.

The defaults of that script: float32, channels-first, the loss read back for log lines only. The
transforms are those of the plain loop, so that both train on the same crops; timm's prefetcher
converts and scales the pixels.

Source: `huggingface/pytorch-image-models`, `train.py` (its habits, none of its code).
"""

from collections.abc import Iterable
from pathlib import Path

import torch
from timm.data import create_loader
from timm.data.transforms import ToNumpy
from timm.optim import create_optimizer_v2
from timm.utils import AverageMeter
from torch import Tensor, nn
from torch.utils.data import Subset
from torchvision.transforms import v2 as transforms

from alexnet_cli.manifest import Manifest
from benchmarks.plain_loop import Batch, PlainDataset, build_model

_LOG_INTERVAL = 50


class TimmLoop:
    """Model, criterion and optimizer as in timm's script."""

    def __init__(self, manifest: Manifest, device: torch.device) -> None:
        self.device = device
        self.model = build_model(manifest).to(device)
        self.optimizer = create_optimizer_v2(
            self.model, opt="sgd", lr=0.01, momentum=0.9, weight_decay=5e-4
        )
        self.criterion = nn.CrossEntropyLoss().to(device)
        self.losses = AverageMeter()
        self.num_steps = 0

    def train_step(self, images_NCHW: Tensor, labels_N: Tensor) -> None:
        images_NCHW, labels_N = images_NCHW.to(self.device), labels_N.to(self.device)
        loss = self.criterion(self.model(images_NCHW), labels_N)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.num_steps += 1
        if self.num_steps % _LOG_INTERVAL == 0:
            self.losses.update(loss.item(), len(labels_N))

    def train_one_epoch(self, loader: Iterable[Batch]) -> None:
        self.model.train()
        for images_NCHW, labels_N in loader:
            self.train_step(images_NCHW, labels_N)


def make_loader(
    folder: Path, *, crop_px: int, batch_size: int, num_images: int, device: torch.device
) -> Iterable[Batch]:
    """Return timm's loader over the first images of the plain loop's training files."""
    dataset = PlainDataset(str(folder), train=True)
    loader: Iterable[Batch] = create_loader(
        Subset(dataset, range(num_images)),
        input_size=(3, crop_px, crop_px),
        batch_size=batch_size,
        is_training=True,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        num_workers=2,
        device=device,
    )
    dataset.transform = transforms.Compose(
        [transforms.RandomCrop(crop_px), transforms.RandomHorizontalFlip(), ToNumpy()]
    )
    return loader
