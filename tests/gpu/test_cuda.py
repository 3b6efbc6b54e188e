"""What only a GPU can show: the same run on CUDA, kills, and memory that runs out."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.data.batches import BatchSettings, ResidentBatches
from alexnet_cli.data.datasets import find_dataset
from alexnet_cli.errors import TrainingError
from alexnet_cli.models.build import build_network
from alexnet_cli.models.lrn import LocalResponseNorm, kernel_name
from alexnet_cli.networks import Network, NetworkSpec
from alexnet_cli.run_folder import RunFolder
from alexnet_cli.training.run import train_run
from alexnet_cli.training.setup import TrainingRun, describe_model
from tests.gpu.conftest import NEEDS_CUDA

pytestmark = NEEDS_CUDA


def test_batches_are_those_of_the_cpu():
    generator = np.random.default_rng(0)
    arrays = ImageArrays(
        generator.integers(0, 256, (50, 16, 16, 3), dtype=np.uint8), np.arange(50) % 10
    )
    settings = BatchSettings(image_size_px=16, batch_size=16, pad_px=1, flip=True, seed=3)
    epochs = [
        ResidentBatches(arrays, settings, device=torch.device(device)).epoch(2, crop_size_px=12)
        for device in ("cpu", "cuda")
    ]
    for on_cpu, on_cuda in zip(*epochs, strict=True):
        assert torch.equal(on_cpu[0], on_cuda[0].cpu())
        assert torch.equal(on_cpu[1], on_cuda[1].cpu())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-6), (torch.bfloat16, 1e-2), (torch.float16, 2e-3), (torch.float64, 1e-12)],
    ids=str,
)
@pytest.mark.parametrize(("channels", "size", "beta"), [(96, 5, 0.75), (256, 5, 0.75), (7, 3, 0.6)])
def test_lrn_equals_the_reference_forward_and_backward(
    channels, size, beta, dtype, tolerance, layout
):
    x = (20 * torch.randn(4, channels, 9, 9)).to(dtype).to(memory_format=layout)
    grad = torch.randn(x.shape).to(dtype)
    reference = torch.nn.LocalResponseNorm(size, 1e-2, beta, 1.5)
    wanted = x.double().requires_grad_()
    expected = reference(wanted)
    expected.backward(grad.double())
    found = x.cuda().requires_grad_()
    y = LocalResponseNorm(size=size, alpha=1e-2, beta=beta, k=1.5)(found)
    y.backward(grad.cuda())
    for ours, theirs in ((y, expected), (found.grad, wanted.grad)):
        assert ours is not None
        assert theirs is not None
        torch.testing.assert_close(
            ours.detach().double().cpu(), theirs.detach(),
            rtol=tolerance, atol=tolerance * float(theirs.detach().abs().max()),
        )  # fmt: skip
    assert kernel_name(torch.device("cuda")) == "Triton"


def test_network_runs_channels_last_in_bfloat16():
    network = build_network(NetworkSpec(Network.ALEXNET_CIFAR, 10, 28)).cuda()
    network = network.to(memory_format=torch.channels_last)
    with torch.autocast("cuda", torch.bfloat16):
        loss = network(torch.randn(8, 3, 28, 28, device="cuda")).float().square().mean()
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_a_run_learns_and_predicts_on_cuda(isolated):
    from alexnet_cli.cli.main import run

    train = ["train", "--data", "shapes", "--epochs", "3", "--device", "cuda", "--lr", "0.02"]
    assert run(train) == 0
    assert run(["export", "--format", "onnx"]) == 0
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime is a CPU build")
    from alexnet_cli.inference.session import load_model

    model = load_model(Path("runs/alexnet-cifar-shapes/model.onnx"), device="cuda")
    assert model.provider == "CUDAExecutionProvider"
    assert model.logits(np.zeros((2, 28, 28, 3), np.uint8)).shape == (2, 10)


@pytest.mark.alone
def test_a_killed_run_ends_in_the_same_bytes_where_kernels_are_deterministic(alexnet_process):
    result = alexnet_process("verify-resume", "--device", "cuda", "--deterministic", "--json")
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert all(each["is_same"] for each in document["comparisons"])
    assert any(attempt["killed"] for attempt in document["attempts"])


@pytest.mark.alone
def test_too_little_memory_is_an_error_with_a_size_to_try(tmp_path):
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
            train_run(run)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert caught.value.code == "out_of_memory"
    assert "--micro-batch-size 1024" in str(caught.value.hint)
