import pytest
import torch

from alexnet_cli.config.schema import Precision
from alexnet_cli.errors import DeviceError, UsageError
from alexnet_cli.training.device import describe_device, resolve_device, resolve_precision

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "mps", "", "CUDA"])
def test_unknown_names_are_usage_errors(name):
    with pytest.raises(UsageError, match="unknown device") as caught:
        resolve_device(name)
    assert "--device" in caught.value.hint


@no_gpu
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
def test_cuda_without_a_gpu_is_refused_not_replaced(name):
    with pytest.raises(DeviceError, match=name) as caught:
        resolve_device(name)
    assert caught.value.hint.startswith("use --device cpu; ")


def test_tensorrt_is_not_pytorchs():
    with pytest.raises(UsageError, match="tensorrt runs exported models") as caught:
        resolve_device("tensorrt")
    assert "alexnet export" in caught.value.hint


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_that_is_not_there_is_refused():
    assert resolve_device("auto").type == resolve_device("cuda").type == "cuda"
    with pytest.raises(DeviceError, match="there is no cuda:99"):
        resolve_device("cuda:99")


@no_gpu
def test_auto_falls_back_to_the_cpu():
    assert resolve_device("auto") == resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(
    ("precision", "expected"),
    [(Precision.FP32, torch.float32), (Precision.BF16, torch.bfloat16)],
)
def test_a_precision_asked_for_is_the_one_used(precision, expected):
    assert resolve_precision(precision, torch.device("cpu")) is expected


def test_auto_precision_is_one_of_the_two():
    found = resolve_precision(Precision.AUTO, torch.device("cpu"))
    assert found in (torch.float32, torch.bfloat16)


def test_the_cpu_is_described_with_its_threads():
    assert describe_device(torch.device("cpu")) == f"cpu ({torch.get_num_threads()} threads)"
