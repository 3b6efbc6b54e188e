import importlib.metadata

import onnxruntime
import pytest
import torch

from alexnet_cli.inference import gpu_check as wheels
from tests.planted import plant_onnxruntime, plant_wheel


def test_the_wheels_that_hold_onnxruntime_are_found(tmp_path):
    for name in ("onnxruntime", "onnxruntime-gpu", "onnxruntime_extensions", "onnx", "ort-nightly"):
        plant_wheel(tmp_path, name, "1.2")
    (tmp_path / "~nnx-1.0.dist-info").mkdir()  # what an interrupted pip leaves
    found = wheels.onnxruntime_wheels([str(tmp_path)])
    assert found == {"onnxruntime": "1.2", "onnxruntime-gpu": "1.2", "ort-nightly": "1.2"}


def test_versions_are_those_of_the_installation():
    found = wheels.installed_versions()
    assert found["torch"] == importlib.metadata.version("torch")
    assert found["typing-extensions"]  # hyphens, whatever the wheel calls itself


def test_cuda_versions_are_read_without_importing():
    assert wheels.torch_cuda_version() == torch.version.cuda
    assert (wheels.onnxruntime_cuda_version() or "") == (onnxruntime.cuda_version or "")


def test_a_cpu_build_has_no_cuda_version(tmp_path):
    path = [str(tmp_path)]
    assert wheels.torch_cuda_version(path) is wheels.onnxruntime_cuda_version(path) is None
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "version.py").write_text("cuda: Optional[str] = None\nhip = '6.0'\n")
    plant_onnxruntime(tmp_path, cuda_version="")
    assert wheels.torch_cuda_version(path) is wheels.onnxruntime_cuda_version(path) is None


@pytest.mark.parametrize(
    ("system", "machine", "expected"),
    [("linux", "x86_64", True), ("win32", "AMD64", True), ("linux", "aarch64", False),
     ("darwin", "arm64", False), ("darwin", "x86_64", False)],
)  # fmt: skip
def test_where_the_gpu_wheel_is_published(system, machine, expected):
    assert wheels.has_gpu_wheel(system, machine) is expected


@pytest.mark.parametrize(
    ("names", "versions", "expected"),
    [
        (["libcurand.so.10"], {}, "pip install 'onnxruntime-gpu[cuda,cudnn]'"),
        (
            ["libcurand.so.10", "libcublasLt.so.13", "libcudart.so.13", "libcudnn.so.9"],
            {"nvidia-curand": "10.4", "nvidia-cublas": "13.1", "nvidia-cuda-runtime": "13.0",
             "nvidia-cudnn-cu13": "9.2", "nvidia-cufft": "12.0"},
            "pip install --force-reinstall --no-deps nvidia-cublas==13.1 "
            "nvidia-cuda-runtime==13.0 nvidia-cudnn-cu13==9.2 nvidia-curand==10.4",
        ),
    ],
)  # fmt: skip
def test_a_library_is_brought_back_by_its_wheel(names, versions, expected):
    assert wheels.library_repair(names, versions) == expected


def test_tensorrt_is_the_major_version_that_is_asked_for():
    names = ["libnvonnxparser.so.10", "libnvinfer.so.10"]
    assert wheels.tensorrt_repair(names, "13.0") == "pip install 'tensorrt-cu13==10.*'"
    assert wheels.tensorrt_repair([], "12.8") == "pip install 'tensorrt-cu12==10.*'"
