"""A network that has learnt, and images that it has not seen."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from alexnet_cli.manifest import InputSpec, Manifest, Provenance
from alexnet_cli.models.build import build_network
from alexnet_cli.models.layers import PixelNetwork
from alexnet_cli.networks import Kernels, Network, NetworkSpec

NUM_CLASSES, IMAGE_PX, CROP_PX = 5, 12, 8


@dataclass(frozen=True)
class Learnt:
    """A trained network with its description and its images, (N, 12, 12, 3)."""

    core: torch.nn.Module
    pixels: PixelNetwork
    manifest: Manifest
    trained_NIIC: np.ndarray
    unseen_NIIC: np.ndarray
    labels_N: np.ndarray


def striped_images(count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw noise over stripes or squares; their width and direction are the class."""
    draw = np.random.default_rng(seed)
    labels_N = np.arange(count) % NUM_CLASSES
    row, column = np.mgrid[:IMAGE_PX, :IMAGE_PX]
    waves = (row // 2, row // 4, column // 2, column // 4, row // 2 + column // 2)
    patterns = np.stack(waves) % 2
    contrast_N111 = draw.uniform(60, 120, (count, 1, 1, 1))
    images = 70 + patterns[labels_N][..., None] * contrast_N111
    images = images + draw.normal(0, 30, (count, IMAGE_PX, IMAGE_PX, 3))
    return images.clip(0, 255).astype(np.uint8), labels_N


@pytest.fixture(scope="session")
def learnt() -> Learnt:
    """Train for fifty updates."""
    manifest = Manifest(
        network=NetworkSpec(Network.ALEXNET_CIFAR, NUM_CLASSES, CROP_PX, kernels=Kernels.HALF),
        input=InputSpec(IMAGE_PX, CROP_PX, scale=(0.02,) * 3, shift=(-2.2,) * 3),
        classes=("ant", "bee", "cat", "dog", "eel"),
        provenance=Provenance("shapes", 5, 20, 3, 0.5, "0" * 64, {}),
    )
    core = build_network(manifest.network, seed=1)
    pixels = PixelNetwork(core, manifest.input).train()
    optimizer = torch.optim.SGD(pixels.parameters(), lr=0.02, momentum=0.9)
    trained, labels = striped_images(600, seed=1)
    draw = np.random.default_rng(1)
    torch.manual_seed(1)  # of dropout
    for _ in range(50):
        chosen, (top, left) = draw.integers(len(trained), size=50), draw.integers(5, size=2)
        crops = trained[chosen, top : top + CROP_PX, left : left + CROP_PX]
        loss = torch.nn.functional.cross_entropy(
            pixels(torch.from_numpy(crops)), torch.from_numpy(labels[chosen])
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    unseen, labels_N = striped_images(400, seed=2)
    return Learnt(core.eval(), pixels.eval(), manifest, trained, unseen, labels_N)
