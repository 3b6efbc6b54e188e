"""A run of two epochs on tiny random images, to be tracked."""

import numpy as np
import pytest
import torch

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.manifest import InputSpec, Manifest, Provenance
from alexnet_cli.models.build import build_network
from alexnet_cli.models.layers import PixelNetwork
from alexnet_cli.networks import Network, NetworkSpec
from alexnet_cli.runs import RunFolder
from alexnet_cli.tracking.reporting import TrackingReporter
from alexnet_cli.training.checkpoint import EpochRow
from alexnet_cli.training.setup import TrainingRun

ROWS = tuple(
    EpochRow(number, 0.1 / number, 2.0 - number, number / 4, 1.5, number / 5, 1.0, 0.1, 40.0)
    for number in (1, 2, 3)
)


@pytest.fixture
def job(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    draw = np.random.default_rng(0)
    images = ImageArrays(
        draw.integers(0, 256, (5, 12, 12, 3), np.uint8), np.arange(5, dtype=np.int64) % 4
    )
    manifest = Manifest(
        NetworkSpec(Network.ALEXNET_CIFAR, num_classes=4, crop_size_px=8, dropout=0.5),
        InputSpec(12, 8, scale=(0.02,) * 3, shift=(-2.5,) * 3),
        ("ant", "bee", "cat", "dog"),
        Provenance("shapes", 5, 20, 0, 0.0, "0" * 64, {}),
    )
    config = TrainConfig(data="shapes", epochs=3, momentum=0.8)
    return TrainingRun(config, manifest, images, images, run, torch.device("cpu"), torch.float32)


@pytest.fixture
def network(job):
    return PixelNetwork(build_network(job.manifest.network, seed=0), job.manifest.input)


@pytest.fixture
def track(job, network):
    """Track a run's start, some epochs and its end."""

    def track_with(tracker, *, done=0, rows=ROWS[:2]):
        warnings = []
        reporter = TrackingReporter(tracker, job, warnings.append)
        reporter.on_start(network.train(), ROWS[:done])
        for row in rows:
            reporter.on_epoch(row, is_best=True)
        reporter.close()
        assert network.training
        return warnings

    return track_with
