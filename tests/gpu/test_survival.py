"""Kills, and memory that runs out, on a GPU."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.data.datasets import find_dataset
from alexnet_cli.errors import TrainingError
from alexnet_cli.runs import RunFolder
from alexnet_cli.training.run import train
from alexnet_cli.training.setup import TrainingRun, describe_model
from tests.conftest import Run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.alone,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_a_killed_run_ends_in_the_same_bytes_where_kernels_are_deterministic(
    alexnet_process: Run,
) -> None:
    result = alexnet_process("verify-resume", "--device", "cuda", "--deterministic", "--json")
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert all(each["is_same"] for each in document["comparisons"])
    assert any(attempt["killed"] for attempt in document["attempts"])


def test_too_little_memory_is_an_error_with_a_size_to_try(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (2_048, 32, 32, 3), dtype=np.uint8)
    images = ImageArrays(pixels, generator.integers(0, 10, 2_048))
    config = TrainConfig(data="shapes", batch_size=2_048, colour_noise=0.0)
    manifest = describe_model(config, find_dataset("shapes"), images.colour_statistics())
    device = torch.device("cuda")
    run = TrainingRun(config, manifest, images, images, RunFolder(tmp_path), device, torch.float32)
    used = torch.cuda.memory_reserved() + (400 << 20)
    torch.cuda.set_per_process_memory_fraction(
        used / torch.cuda.get_device_properties(device).total_memory
    )
    try:
        with pytest.raises(TrainingError) as caught:
            train(run)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert caught.value.code == "out_of_memory"
    assert "--micro-batch-size 1024" in str(caught.value.hint)
