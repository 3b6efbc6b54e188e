"""One small network, exported once per format, for the tests of export and inference."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from alexnet_cli.manifest import InputSpec, Manifest, Network, NetworkSpec, Provenance


@dataclass(frozen=True)
class ExportedNetwork:
    """A network with non-zero biases, and its files."""

    core: object
    pixels: object
    manifest: Manifest
    images_BSSC: np.ndarray
    whole: Path
    shared: Path


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """`whole` holds independent files, `shared` a graph that refers to the weights beside it."""
    import torch

    from alexnet_cli.export.parity import Compared
    from alexnet_cli.export.settings import ExportSettings, Format
    from alexnet_cli.export.write import export_model
    from alexnet_cli.models.build import build_network
    from alexnet_cli.models.normalise import PixelNetwork

    manifest = Manifest(
        network=NetworkSpec(Network.ALEXNET_CIFAR, num_classes=5, crop_size_px=8),
        input=InputSpec(12, 8, scale=(0.02, 0.015, 0.01), shift=(-2.5, -2.0, -1.5)),
        classes=("ant", "bee", "cat", "dog", "élan"),
        provenance=Provenance("shapes", 5, 20, 3, 0.5, "0" * 64, {"torch": "2"}),
    )
    core = build_network(manifest.network, seed=1)
    draw = np.random.default_rng(3)
    colours, noise = draw.integers(0, 200, (40, 1, 1, 3)), draw.integers(0, 56, (40, 8, 8, 3))
    images = (colours + noise).astype(np.uint8)  # each has its own colour, so that answers differ
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in core.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.1, generator=generator)
        core.classifier[7].weight.mul_(30)  # far from ties
        pixels = PixelNetwork(core, manifest.input).eval()
        core.classifier[7].bias.sub_(pixels(torch.from_numpy(images)).mean(dim=0))
    folders = [tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("shared")]
    for folder in folders:
        settings = ExportSettings(Format.ALL, shared_weights=folder is folders[1])
        written = export_model(core, manifest, folder, settings, Compared(images))
    return ExportedNetwork(core, pixels, written[0].manifest, images, *folders)
