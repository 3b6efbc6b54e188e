"""What only a GPU can show of the promise that the device asked for is the one that runs."""

import json

import numpy as np
import onnxruntime as ort
import pytest
import torch
from PIL import Image

from alexnet_cli.errors import DeviceError
from alexnet_cli.export.settings import Format
from alexnet_cli.inference.gpu_check import CPU, CUDA, TENSORRT, read_driver, tensorrt_problems
from alexnet_cli.inference.providers import placed_nodes
from alexnet_cli.inference.session import load_model
from alexnet_cli.networks import Network, network_spec
from tests.gpu.conftest import NEEDS_CUDA
from tests.made_runs import export_drawn

pytestmark = NEEDS_CUDA


def _export(network, folder):
    """Export a network with its initial weights; return the file and images of its size."""
    crop = network.info.own_crop_px(network.info.image_size_px)
    spec = network_spec(network, num_classes=10, crop_size_px=crop)
    return folder / "model.onnx", export_drawn(spec, folder, file_format=Format.ONNX)


def test_the_driver_reports_the_gpus_of_pytorch():
    driver = read_driver()
    assert len(driver.gpus) == torch.cuda.device_count()
    for gpu in driver.gpus:
        properties = torch.cuda.get_device_properties(gpu.index)
        assert gpu.name == properties.name
        assert gpu.memory_bytes == properties.total_memory
        assert gpu.capability == torch.cuda.get_device_capability(gpu.index)


@pytest.mark.slow
@pytest.mark.parametrize("network", Network)
def test_every_network_runs_wholly_on_cuda(network, tmp_path):
    path, images = _export(network, tmp_path)
    for many in (False, True):  # the two levels of graph optimisation
        model = load_model(path, device="cuda", for_many=many)
        assert model.provider == CUDA
        assert placed_nodes(model._session)[CUDA]
        expected = load_model(path, device="cpu", for_many=many).logits(images)
        np.testing.assert_allclose(model.logits(images), expected, rtol=1e-3, atol=1e-3)


def test_a_number_beyond_the_gpus_is_refused(tmp_path):
    path, _ = _export(Network.ALEXNET_CIFAR, tmp_path)
    with pytest.raises(DeviceError, match="there is no cuda:99: ") as caught:
        load_model(path, device="cuda:99")
    assert "--device cuda:0" in str(caught.value.hint)
    with pytest.raises(DeviceError, match="visible"):
        load_model(path, device=f"cuda:{torch.cuda.device_count()}")


def test_tensorrt_answers_as_the_cpu_or_names_what_is_missing(tmp_path):
    path, images = _export(Network.ALEXNET_CIFAR, tmp_path)
    if list(tensorrt_problems(ort.get_available_providers(), read_driver())):
        with pytest.raises(DeviceError, match="--device tensorrt is not usable") as caught:
            load_model(path, device="tensorrt")
        assert "pip install" in str(caught.value.hint)
        return
    model = load_model(path, device="tensorrt")
    assert model.provider == TENSORRT
    expected = load_model(path, device="cpu").logits(images)
    np.testing.assert_allclose(model.logits(images), expected, rtol=1e-3, atol=1e-3)


def test_hidden_gpus_are_an_error_for_cuda_and_a_note_for_auto(alexnet_process, tmp_path):
    path, _ = _export(Network.ALEXNET_CIFAR, tmp_path)
    Image.new("RGB", (32, 32), "red").save("red.png")
    arguments, env = ("predict", "red.png", "-m", path), {"CUDA_VISIBLE_DEVICES": ""}
    refused = alexnet_process(*arguments, "--device", "cuda", env=env)
    assert refused.returncode == 1
    assert "CUDA_VISIBLE_DEVICES" in refused.stderr
    fallen = alexnet_process(*arguments, "--json", env=env)
    assert "running on the CPU" in fallen.stderr
    assert json.loads(fallen.stdout)["file"] == "red.png"
    assert CPU not in alexnet_process(*arguments, "--device", "cuda").stderr


def test_doctor_runs_on_every_gpu(alexnet_process):
    result = alexnet_process("doctor", "--deep", "--json")
    document = json.loads(result.stdout)
    assert document["training"] == "cuda", document["findings"]
    assert document["prediction"] == CUDA, document["findings"]
    devices = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    for runtime in ("PyTorch", "ONNX Runtime"):
        trials = [t for t in document["trials"] if t["runtime"] == runtime]
        assert [t["device"] for t in trials][: len(devices)] == devices
        assert all(t["error"] is None for t in trials), trials
    assert document["is_sound"] == (result.returncode == 0)
