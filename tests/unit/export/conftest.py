"""A network that has learnt, and images that it has not seen."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from alexnet_cli.manifest import InputSpec, Manifest, Provenance
from alexnet_cli.models.build import PixelNetwork, build_network
from alexnet_cli.networks import Kernels, Network, NetworkSpec

NUM_CLASSES, IMAGE_PX, CROP_PX = 5, 12, 8


def striped_images(count, *, seed):
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
def learnt():
    """A network after fifty updates, its description, and its images, (N, 12, 12, 3)."""
    manifest = Manifest(
        network=NetworkSpec(Network.ALEXNET_CIFAR, NUM_CLASSES, CROP_PX, kernels=Kernels.HALF),
        input=InputSpec(IMAGE_PX, CROP_PX, scale=(0.02,) * 3, shift=(-2.2,) * 3),
        classes=("ant", "bee", "cat", "dog", "eel"),
        provenance=Provenance("shapes", 5, 20, 3, 0.5, "0" * 64, {}),
    )
    network = build_network(manifest.network, seed=1)
    pixels = PixelNetwork(network, manifest.input).train()
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
    return SimpleNamespace(
        network=network.eval(), manifest=manifest, trained_NIIC=trained, unseen_NIIC=unseen,
        labels_N=labels_N,
    )  # fmt: skip
