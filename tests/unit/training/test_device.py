import pytest
import torch

from alexnet_cli.config.schema import Precision
from alexnet_cli.errors import DeviceError
from alexnet_cli.training import device
from alexnet_cli.training.device import (
    describe_device,
    resolve_device,
    resolve_precision,
    seed_dropout,
)

CPU = torch.device("cpu")
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@no_gpu
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
def test_cuda_without_a_gpu_is_refused_not_replaced(name):
    with pytest.raises(DeviceError, match=name) as caught:
        resolve_device(name)
    assert caught.value.hint.startswith("use --device cpu; ")


@no_gpu
def test_auto_falls_back_to_the_cpu():
    assert resolve_device("auto") == resolve_device("cpu") == CPU
    assert describe_device(CPU) == f"cpu ({torch.get_num_threads()} threads)"


def test_a_containers_quota_limits_the_threads_unless_they_were_chosen(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(device, "cpu_quota", lambda: before)
    monkeypatch.setattr(device, "num_cores", lambda: before + 1)
    try:
        monkeypatch.setenv("OMP_NUM_THREADS", str(before))
        resolve_device("cpu")
        assert torch.get_num_threads() == before
        monkeypatch.delenv("OMP_NUM_THREADS")
        resolve_device("cpu")
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_missing_gpu_is_refused():
    assert resolve_device("auto").type == resolve_device("cuda").type == "cuda"
    with pytest.raises(DeviceError, match="there is no cuda:99"):
        resolve_device("cuda:99")


def test_precision_on_the_cpu():
    assert resolve_precision(Precision.FP32, CPU) is torch.float32
    assert resolve_precision(Precision.BF16, CPU) is torch.bfloat16
    assert resolve_precision(Precision.AUTO, CPU) in (torch.float32, torch.bfloat16)


@pytest.mark.parametrize("seed", [0, 7, (5 << 32) + 3, 2**64 - 1])
def test_dropout_is_seeded_as_by_pytorch(seed):
    torch.manual_seed(seed)
    expected = torch.rand(4)
    seed_dropout(CPU, seed)
    assert torch.equal(torch.rand(4), expected)


def test_float32_is_never_tf32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # PyTorch's default
    resolve_device("auto")
    assert not torch.backends.cudnn.allow_tf32
