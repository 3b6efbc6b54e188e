"""A manifest small enough to train in a second."""

import pytest

from alexnet_cli.manifest import InputSpec, Manifest, Network, NetworkSpec, Provenance


@pytest.fixture(scope="session")
def manifest():
    return Manifest(
        network=NetworkSpec(Network.ALEXNET_CIFAR, num_classes=4, crop_size_px=8, dropout=0.5),
        input=InputSpec(12, 8, scale=(0.02, 0.015, 0.01), shift=(-2.5, -2.0, -1.5)),
        classes=("ant", "bee", "cat", "élan"),
        provenance=Provenance("shapes", 5, 20, 0, 0.0, "0" * 64, {"torch": "2"}),
    )
